"""The engine triton on the GPU, against float64 on the CPU. A few layers: each kernel takes seconds to compile."""

import copy

import pytest
import torch

import octvideo
from octvideo.engines import choose
from octvideo.engines.triton import tiles
from octvideo.layers import Octave, OctaveConv3d
from octvideo.layers.frozen import FrozenConv
from tests.gpu.precision import LAYER, distance
from tests.gpu.test_layers import CONVS, compare, maps, tensors

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def first_tile(monkeypatch):
    monkeypatch.setattr(tiles, "searches", False)


def make(conv: str, alpha: float) -> OctaveConv3d:
    torch.manual_seed(0)
    return OctaveConv3d(32, 32, **CONVS[conv], alpha_in=alpha, alpha_out=alpha).double()


@pytest.mark.parametrize(("conv", "alpha"), [("pointwise", 0.25), ("temporal", 0.1), ("spatial", 0.25)])
def test_triton_is_torch(device, conv, alpha):
    """In a training: outputs and gradients, in autocast."""
    layer, x = make(conv, alpha), maps(alpha, 3)
    high = tensors(x)[0].detach().to(device, torch.float32)
    with octvideo.engine("triton"):
        asked = choose(layer.plan.request(high, layer.weight.to(device, torch.float32), trains=True))
        assert asked.name == ("triton" if device == "cuda" else "torch")
        compare(layer, x, device, torch.bfloat16)


@pytest.mark.parametrize("conv", ["pointwise", "spatial"])
def test_everything_behind_a_frozen_layer(device, conv):
    """Residuals, ReLU and averages within the kernel, in bfloat16."""
    frozen = FrozenConv(make(conv, 0.25))
    frozen.relu, frozen.gives_pooled = frozen.outputs, True
    x, residuals = maps(0.25, 3), maps(0.25, 3)
    assert isinstance(x, Octave)
    assert isinstance(residuals, Octave)
    inputs = [part.detach() for part in (*x, *residuals)]
    expected = frozen(*inputs)
    there = copy.deepcopy(frozen).to(device, torch.bfloat16)
    with octvideo.engine("triton"), torch.no_grad():
        found = there(*(part.to(device, torch.bfloat16) for part in inputs))
    for one, other in zip(found, expected, strict=True):
        assert distance([one], [other]) < LAYER[torch.bfloat16]
