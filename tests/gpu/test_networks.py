"""Every network on the GPU, against float64 on the CPU: inference, a training step, optimised, exported."""

import copy
from dataclasses import dataclass
from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from octvideo.models import create_model, octavize, optimize
from octvideo.models.export import export_network
from octvideo.models.exported import load_exported
from octvideo.models.graphs import record
from tests.gpu.precision import distance, whole_float32
from tests.models.networks import DEEPER, FAST, SLOW, randomise_norms

pytestmark = pytest.mark.gpu

CARD = {"name": "i3d_tiny", "alpha": 0.25, "num_classes": 3, "class_names": ["a", "b", "c"]}
NETWORKS = {**FAST, **SLOW, **DEEPER}
# Up to a hundred layers, each of which adds its rounding; norms over few numbers, where a gradient can grow.
ALLOWED = {
    "inference": 1e-3,
    "bfloat16": 0.1,
    "training": 2e-2,
    "optimised": 1e-3,
    "optimised, bfloat16": 0.1,
}


@dataclass(frozen=True)
class Reference:
    """An octave network and what it gives in float64 on the CPU."""

    network: nn.Module  # float32, in evaluation
    clip: torch.Tensor
    logits: torch.Tensor
    gradients: list[torch.Tensor]
    statistics: list[torch.Tensor]  # of the norms, after a training step


@lru_cache(maxsize=1)  # the checks of a network follow each other
def reference(name: str) -> Reference:
    torch.manual_seed(0)
    of = NETWORKS[name]
    network = octavize(of.build().eval(), of.alpha)
    randomise_norms(network)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    layout = torch.channels_last_3d if len(of.shape) == 5 else torch.channels_last
    clip = torch.randn(of.shape).to(memory_format=layout)
    exact = copy.deepcopy(network).double()
    with torch.no_grad():
        logits = exact(clip.double())
    return Reference(network, clip, logits, *training_step(exact, clip.double()))


def training_step(network: nn.Module, clip: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Gradients of the parameters, and the norms' statistics."""
    logits = network.train()(clip)
    labels = torch.arange(len(clip), device=clip.device)
    F.cross_entropy(logits, labels).backward()
    return [p.grad for p in network.parameters()], statistics(network)


def statistics(network: nn.Module) -> list[torch.Tensor]:
    return [
        buffer for name, buffer in network.named_buffers() if name.endswith(("running_mean", "running_var"))
    ]


@pytest.mark.parametrize("check", ALLOWED)
@pytest.mark.parametrize("name", NETWORKS)
def test_network(device, name, check):
    if device == "cpu" and (name, check) == ("s3d", "optimised, bfloat16"):
        pytest.skip("CPUs pool no volumes of bfloat16")
    of = reference(name)
    layout = torch.channels_last_3d if of.clip.dim() == 5 else torch.channels_last
    network = copy.deepcopy(of.network).to(device, memory_format=layout)
    clip = of.clip.to(device)
    with whole_float32():
        if check == "training":
            allowed = (ALLOWED[check], 1e-3)  # gradients, statistics
            exact = (of.gradients, of.statistics)
            far = [distance(a, b) for a, b in zip(training_step(network, clip), exact, strict=True)]
            if any(one > other for one, other in zip(far, allowed, strict=True)):
                # Norms over eight numbers in a deep network magnify roundings: those of the CPU's float32 as well.
                on_cpu = training_step(copy.deepcopy(of.network), of.clip)
                near = [5 * distance(a, b) for a, b in zip(on_cpu, exact, strict=True)]
                allowed = tuple(map(max, allowed, near))
            assert all(one <= other for one, other in zip(far, allowed, strict=True)), (far, allowed)
            return
        if check.startswith("optimised"):
            network = optimize(network)
            if "bfloat16" in check:
                network, clip = network.bfloat16(), clip.bfloat16()
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=check == "bfloat16"):
            found = network(clip)
    assert found.device.type == device
    assert distance([found], [of.logits]) < ALLOWED[check]


@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_recorded_network_gives_the_same(device, alpha):
    """A CUDA graph, replayed on other numbers."""
    torch.manual_seed(0)
    network = create_model("i3d_tiny", alpha=alpha, num_classes=5).eval()
    randomise_norms(network)
    network = optimize(network).to(device)
    clip = torch.randn(2, 3, 8, 64, 64).to(device, memory_format=torch.channels_last_3d)
    with torch.no_grad():
        run = record(lambda: network(clip)) if device == "cuda" else lambda: network(clip)
        clip.copy_(torch.randn(clip.shape))
        torch.testing.assert_close(run(), network(clip), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["i3d_tiny", "slow_r50"])
def test_every_map_is_channels_last(device, name):
    """From stem to head: an operation that drops the layout makes copies of all that follows."""
    from benchmarks.gpu.correctness import stray_maps

    network = create_model(name, alpha=0.25).eval().to(device, memory_format=torch.channels_last_3d)
    clip = torch.randn(1, 3, 8, 64, 64, device=device).to(memory_format=torch.channels_last_3d)
    strays = stray_maps(network, clip)
    # oneDNN gives the maps of temporal convolutions over a few pixels as it likes.
    assert not strays or (device == "cpu" and name == "slow_r50"), strays


@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_exported_network_gives_the_networks_logits(device, tmp_path, alpha):
    """Written by a network that is on the GPU; run where files are run, on the CPU."""
    torch.manual_seed(0)
    network = create_model("i3d_tiny", alpha=alpha, num_classes=3).eval()
    randomise_norms(network)
    network.to(device, memory_format=torch.channels_last_3d)
    export_network(network, tmp_path / "net.pt2", input_shape=(4, 33, 33), card=CARD)
    exported, _ = load_exported(tmp_path / "net.pt2")
    clip = torch.randn(2, 3, 4, 33, 33)
    with torch.no_grad(), whole_float32():
        found, expected = exported(clip), network(clip.to(device))
    assert distance([found], [expected]) < 1e-3
