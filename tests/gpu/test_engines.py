"""The engine triton on the GPU, against float64 on the CPU. A few layers: each kernel takes seconds to compile."""

import copy

import pytest
import torch
from torch import nn

import octvideo
from octvideo.engines import choose, choose_norm
from octvideo.engines.triton import tiles
from octvideo.layers import Octave, OctaveBatchNorm3d, OctaveConv3d
from octvideo.layers.frozen import FrozenConv
from octvideo.layers.norm import as_rows, batch_norm
from tests.gpu.precision import LAYER, distance, whole_float32
from tests.gpu.test_layers import CONVS, compare, forward_and_gradients, maps, tensors

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


@pytest.mark.parametrize("dtype", LAYER, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_norms_with_what_is_behind_them(device, dtype):
    """Outputs, running statistics and gradients of both frequencies, an addition and a ReLU within the kernel."""
    torch.manual_seed(0)
    norm = OctaveBatchNorm3d(32, alpha=0.25).double()
    inputs = [*maps(0.25, 3), *maps(0.25, 3)]
    rows = as_rows(norm.split.high), as_rows(norm.split.low)

    def run(norm: nn.Module, given: list[torch.Tensor]) -> list[torch.Tensor]:
        given = [x.detach().requires_grad_() for x in given]
        outputs = batch_norm(norm, given[:2], rows, nn.ReLU(), given[2:])
        total = sum(y.float().square().sum() for y in outputs)
        gradients = torch.autograd.grad(total, [*given, *norm.parameters()])
        return [*outputs, norm.running_mean, norm.running_var, *gradients]

    expected = run(copy.deepcopy(norm), inputs)
    there = norm.to(device, torch.float32)
    moved = [x.detach().to(device, dtype) for x in inputs]
    with octvideo.engine("triton"), torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
        assert (choose_norm(moved[0], there.weight) is not None) == (device == "cuda")
        found = run(there, moved)
    for one, other in zip(found, expected, strict=True):
        assert distance([one], [other]) < 3 * LAYER[dtype]  # a number near zero may pass the ReLU or not


def test_a_compiled_training_step(device):
    """The layer as one operation, whose gradient is one, too."""
    layer, x = make("temporal", 0.25), maps(0.25, 3)
    expected = forward_and_gradients(layer, x)
    there = copy.deepcopy(layer).to(device, torch.float32)
    moved = Octave(*(part.detach().to(device, torch.float32).requires_grad_() for part in tensors(x)))
    with octvideo.engine("triton"), whole_float32():
        found = forward_and_gradients(torch.compile(there, backend="aot_eager", fullgraph=True), moved)
    for ours, exact in zip(found, expected, strict=True):
        for one, other in zip(ours, exact, strict=True):
            assert distance([one], [other]) < LAYER[torch.float32]
