"""Kernels that a training step of an eager network starts on a GPU.

Counted on torch's device `meta`, which takes a GPU's path through octvideo (it is no CPU) and computes nothing.
"""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import octvideo
from octvideo.models import create_model, for_training

# Memory without a kernel, and what only writes down.
FREE = {"empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view", "detach", "split_with_sizes"}
FREE |= {"_record_function_enter_new", "_record_function_exit"}


class Launches(TorchDispatchMode):
    """Counts torch's operations that are no views by name; of a convolution's gradient, each part."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        if not func.is_view and name not in FREE and not name.startswith(("profiler::", "prim::")):
            self.by_name[name] += sum(args[-1]) if name == "convolution_backward" else 1
        found = func(*args, **(kwargs or {}))
        return _as_cudnn_lays_them(found, args[0]) if name.startswith("convolution") else found

    @property
    def count(self) -> int:
        return self.by_name.total()


def _as_cudnn_lays_them(found, x):
    """Channels-last where the input is; the device `meta` forgets that."""
    if isinstance(found, tuple):
        return (*(_as_cudnn_lays_them(part, x) for part in found),)
    if found is None or x.stride(1) != 1:
        return found
    return found.to(memory_format={4: torch.channels_last, 5: torch.channels_last_3d}.get(found.dim()))


def training_step(
    name: str, alpha: float, size: tuple[int, ...], launches: Launches | None = None
) -> Launches:
    """Those of a whole step, the optimiser's too."""
    network = create_model(name, alpha=alpha, num_classes=5).train().to("meta")
    network = network.to(memory_format=torch.channels_last_3d)
    clip = torch.empty(2, 3, *size, device="meta").to(memory_format=torch.channels_last_3d)
    label = torch.empty(2, dtype=torch.long, device="meta")
    network = for_training(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, foreach=True)
    for parameter in network.parameters():
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()  # makes its state
    optimizer.zero_grad()
    launches = launches or Launches()
    with launches:
        F.cross_entropy(network(clip), label).backward()
        optimizer.step()
    return launches


@pytest.fixture(scope="module")
def steps() -> dict[float, Launches]:
    return {alpha: training_step("i3d_r50", alpha, (8, 224, 224)) for alpha in (0, 0.25)}


def test_a_training_step_starts_few_kernels(steps):
    """3.5 times dense before gradients, norms and folds were put together."""
    dense, octave = (steps[alpha].count for alpha in (0, 0.25))
    assert dense <= 471, steps[0].by_name
    assert octave <= 1442, steps[0.25].by_name


def test_what_is_left_is_what_torch_has(steps):
    """Convolutions, norms and ReLUs of two frequencies alone are 1.65 dense steps: less takes kernels of one's own."""
    needed = ("convolution", "native_batch_norm", "relu")
    needed += ("convolution_backward", "native_batch_norm_backward", "threshold_backward")
    share = sum(steps[0.25].by_name[name] for name in needed) / steps[0].count
    assert 1.6 < share < 1.7


def test_nothing_is_turned_round(steps):
    """No copy but of gradients into their weight: every map stays channels-last, and no rule for CPUs copies it."""
    for launches in steps.values():
        assert not {"clone", "_to_copy", "contiguous"} & launches.by_name.keys()
    layers = 44  # octave ones; three gradients each, since what reads the low map is one convolution
    assert steps[0.25].by_name["copy_"] == 3 * layers
    assert steps[0].by_name["copy_"] == 0


@pytest.fixture
def by_triton(monkeypatch):
    """The engine `triton` on this device, whose kernels are counted and not run."""
    pytest.importorskip("triton")
    from octvideo.engines.triton import engine, norm, problem, weight_gradients

    counted = Launches()

    def start(name):
        def launch(*_arguments):
            counted.by_name[f"triton {name}"] += 1

        return launch

    monkeypatch.setattr(engine, "runs_on", lambda: "meta")
    monkeypatch.setattr(engine, "is_plain", lambda _: True)  # but for the counting, nobody watches
    for module, function, name in (
        (problem, "_launch", "sums"), (weight_gradients, "launch", "weight gradients"), (norm, "launch", "norms"),
    ):  # fmt: skip
        monkeypatch.setattr(module, function, start(name))
    with octvideo.engine("triton"):
        yield counted


def test_the_engine_triton_starts_at_most_1_6_times_as_many(steps, by_triton):
    """As a dense step by torch: a layer of one pixel in space is one launch, and two its gradients; norms, with what is
    behind, two each way."""
    octave = training_step("i3d_r50", 0.25, (8, 224, 224), by_triton)
    assert octave.count <= 715 <= 1.6 * steps[0].count, octave.by_name
    assert not {"clone", "_to_copy", "contiguous"} & octave.by_name.keys()


def test_a_dense_step_gets_the_same_fusions(steps, by_triton):
    """Of which octave starts 1.61 times as many: norms, additions and ReLUs are as many launches in both."""
    dense = training_step("i3d_r50", 0, (8, 224, 224), by_triton)
    assert dense.count <= 443 < steps[0].count, dense.by_name
    assert dense.by_name["triton norms"] == 4 * 53
    assert not {"native_batch_norm", "relu", "threshold_backward", "clone"} & dense.by_name.keys()
