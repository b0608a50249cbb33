"""What is chosen on a GPU, without one, on fake CUDA tensors (torch's FakeTensorMode): no rule for CPUs."""

import importlib
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.cli import LightningCLI
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import octvideo
from octvideo.cli import engine as commands
from octvideo.engines import ENGINES
from octvideo.layers import frozen, gradient
from octvideo.models import create_model, octavize, optimize
from octvideo.models.optimize import Frozen
from tests.models.networks import FAST

ENGINE_MODULES = [f"octvideo.engines.{name}" for name in ("native.engine", "onednn", "triton.engine")]


@pytest.fixture
def requests(monkeypatch):
    """What engines are asked for, and which took it: on a GPU of Hopper, by code that takes fakes for tensors."""
    seen = []
    for module in (gradient, frozen):
        chosen = module.choose

        def choose(request, chosen=chosen):
            engine = chosen(request)
            seen.append((request, engine.name))
            return engine

        monkeypatch.setattr(module, "choose", choose)
    for module in ENGINE_MODULES:
        monkeypatch.setattr(f"{module}.is_plain", lambda x: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    return seen


def run_on_cuda(network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """The network's forward pass, on fake tensors."""
    layout = torch.channels_last_3d if len(shape) == 5 else torch.channels_last
    network = network.to(dtype=dtype, memory_format=layout)
    with FakeTensorMode(allow_non_fake_inputs=True):

        def there(x: torch.Tensor) -> torch.Tensor:
            return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="cuda")

        for module in network.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = nn.Parameter(there(parameter), parameter.requires_grad)
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else there(buffer)
        return network(there(torch.empty(shape, dtype=dtype).to(memory_format=layout)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", FAST)
def test_torch_computes_where_nothing_is_asked_for(requests, name, dtype):
    """In training and optimised; the engines for CPUs say that it is the device."""
    of = FAST[name]
    network = octavize(of.build().eval(), of.alpha)
    run_on_cuda(optimize(network), of.shape, dtype)
    is_frozen = len(requests)
    assert run_on_cuda(network.train(), of.shape, dtype).device.type == "cuda"
    assert is_frozen < len(requests)
    assert {taken for _, taken in requests} == {"torch"}
    for request, _ in requests:
        assert request.x.device.type == "cuda"
        assert ENGINES["native"].unavailable_reason(request) == "it runs on the CPU; the input is on cuda:0"
        if not request.trains:
            assert (
                ENGINES["onednn"].unavailable_reason(request) == "it runs on the CPU; the input is on cuda:0"
            )


def test_triton_takes_what_it_is_asked_for(requests):
    """All of I3D's octave layers, of any alpha, in training and not; no other engine but torch steps in."""
    pytest.importorskip("triton")
    for alpha in (0.1, 0.5):
        network = create_model("i3d_tiny", alpha=alpha)
        layers = [layer for layer in network.modules() if hasattr(layer, "plan")]
        for layer in layers:
            with FakeTensorMode():
                weight = torch.empty(layer.weight.shape, device="cuda")
                x = torch.empty(1, 8, 4, 8, 8, device="cuda").to(memory_format=torch.channels_last_3d)
                for trains in (False, True):
                    asked = layer.plan.request(x, weight, trains=trains)
                    assert ENGINES["triton"].unavailable_reason(asked) is None
                    for name in ("native", "onednn"):
                        with octvideo.engine(name):
                            assert octvideo.engines.choose(asked).name == "torch"


def test_no_averages_behind_a_convolution_for_vectors_of_sixteen(requests, monkeypatch):
    """A rewrite of the plan for kernels that compute 16 channels at once."""
    monkeypatch.setattr(
        "octvideo.layers.plan.Plan.averaging_behind", lambda *_: pytest.fail("the plan was rewritten")
    )
    run_on_cuda(optimize(create_model("i3d_tiny", alpha=0.1).eval()), (1, 3, 4, 32, 32), torch.float32)
    assert requests


def test_a_compiled_network_is_compiled_there(monkeypatch):
    """On a CPU one of our own kernels is left as it is, and inductor writes C++."""
    network = optimize(create_model("i3d_tiny", alpha=0.25).eval(), compile=True)
    assert isinstance(network, Frozen)
    seen = []

    class Compiled(nn.Module):
        def forward(self, x):
            from torch._inductor import config

            seen.append((x.device.type, config.cpp_wrapper))
            return x

    optimizer = importlib.import_module("octvideo.models.optimize")  # of models, the function has its name
    monkeypatch.setattr(optimizer, "_is_native", lambda _: pytest.fail("asked for the CPU's kernels"))
    network._compiled = Compiled()
    with FakeTensorMode():
        network(torch.empty(1, 3, 4, 32, 32, device="cuda"))
    assert seen == [("cuda", False)]


@pytest.mark.parametrize(
    ("device", "settings", "expected"),
    [
        ("cuda", {}, True),
        ("cuda", {"benchmark": False}, False),
        ("cuda", {"deterministic": True}, False),
        ("cpu", {}, False),
    ],
)
def test_a_run_on_a_gpu_lets_cudnn_look_for_its_best_kernels(device, settings, expected, monkeypatch):
    """Unless something else was asked for; and the heap is the CPU's."""
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))
    monkeypatch.setattr(LightningCLI, "_instantiate_trainer", lambda *_: trainer)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    kept = []
    monkeypatch.setattr(commands, "keep_freed_memory", lambda: kept.append(device))
    command = commands.EngineCLI.__new__(commands.EngineCLI)
    command.subcommand = "test"
    command._instantiate_trainer(dict(settings), [])
    assert torch.backends.cudnn.benchmark is expected
    assert kept == (["cpu"] if device == "cpu" else [])
