"""Octave layers and their gradients on the GPU, against float64 on the CPU."""

import copy

import pytest
import torch
from torch import nn

from octvideo.layers import (
    Octave,
    OctaveActivation,
    OctaveBatchNorm2d,
    OctaveBatchNorm3d,
    OctaveConv2d,
    OctaveConv3d,
    OctavePool,
)
from tests.gpu.precision import LAYER, distance, whole_float32

pytestmark = pytest.mark.gpu

# Kernel, and what is special.
CONVS = {
    "pointwise": {"kernel_size": (1, 1, 1)},
    "temporal": {"kernel_size": (3, 1, 1), "padding": (1, 0, 0)},
    "spatial": {"kernel_size": (1, 3, 3), "padding": (0, 1, 1)},
    "volume": {"kernel_size": (3, 3, 3), "padding": (1, 1, 1)},
    "stride 2": {"kernel_size": (1, 3, 3), "padding": (0, 1, 1), "stride": (1, 2, 2)},
    "stride 2 in time": {"kernel_size": (3, 1, 1), "padding": (1, 0, 0), "stride": (2, 1, 1)},
    "shortcut": {"kernel_size": (1, 1, 1), "stride": (1, 2, 2), "bias": False},
    "groups": {"kernel_size": (1, 3, 3), "padding": (0, 1, 1), "groups": 4},
    "depthwise": {"kernel_size": (3, 3, 3), "padding": (1, 1, 1), "groups": 32},
    "image": {"kernel_size": (3, 3), "padding": (1, 1)},
}
# 0.1 of 32 channels leaves 29 and 3; the ends are layers from dense to octave maps, and back.
ALPHAS = {
    "0.1": (0.1, 0.1),
    "0.25": (0.25, 0.25),
    "0.5": (0.5, 0.5),
    "first": (0.0, 0.25),
    "last": (0.25, 0.0),
}


def maps(alpha: float, dims: int, size: tuple[int, int] = (10, 13)) -> Octave | torch.Tensor:
    """Float64 maps of 32 channels, of odd width; channels-last."""
    layout = torch.channels_last_3d if dims == 3 else torch.channels_last
    low = int(alpha * 32)
    frames = (4,) if dims == 3 else ()

    def make(channels: int, *size: int) -> torch.Tensor:
        x = torch.randn(2, channels, *frames, *size, dtype=torch.float64)
        return x.to(memory_format=layout).requires_grad_()

    high = make(32 - low, *size)
    return Octave(high, make(low, *(-(-side // 2) for side in size))) if low else high


def tensors(x: Octave | torch.Tensor) -> list[torch.Tensor]:
    return list(x) if isinstance(x, Octave) else [x]


def forward_and_gradients(layer: nn.Module, x: Octave | torch.Tensor) -> tuple[list, list]:
    """Outputs, and the gradients of inputs and parameters for given, fixed gradients of the outputs."""
    outputs = tensors(layer(x))
    leaves = [*tensors(x), *layer.parameters()]
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(y.shape, dtype=torch.float64, generator=generator) for y in outputs]
    gradients = torch.autograd.grad(
        sum((y * g.to(y.device, y.dtype)).sum() for y, g in zip(outputs, upstream, strict=True)), leaves
    )
    return outputs, list(gradients)


def compare(layer: nn.Module, x: Octave | torch.Tensor, device: str, dtype: torch.dtype) -> None:
    """As a training runs it: weights and inputs in float32, in autocast for bfloat16."""
    expected = forward_and_gradients(layer, x)
    there = copy.deepcopy(layer).to(device, torch.float32)
    moved = [part.detach().to(device, torch.float32).requires_grad_() for part in tensors(x)]
    with whole_float32(), torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = forward_and_gradients(there, Octave(*moved) if isinstance(x, Octave) else moved[0])
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.device.type == device
            assert distance([a], [b]) < LAYER[dtype]


@pytest.mark.parametrize("dtype", LAYER, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize(
    ("conv", "alphas"),
    [(conv, alphas) for conv in CONVS for alphas in ALPHAS if (conv, alphas) != ("groups", "0.1")],
)
def test_layer_and_gradients(device, conv, alphas, dtype):
    options = dict(CONVS[conv])
    alpha_in, alpha_out = ALPHAS[alphas]
    if options.get("groups") == 32 and alpha_in != alpha_out:
        alpha_out = alpha_in  # each channel is its own group: what comes in low goes out low
    torch.manual_seed(0)
    dims = len(options["kernel_size"])
    layer = (OctaveConv3d if dims == 3 else OctaveConv2d)(
        32, 32, **options, alpha_in=alpha_in, alpha_out=alpha_out
    ).double()
    compare(layer, maps(alpha_in, dims), device, dtype)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["norm", "norm in evaluation", "activation", "max pool", "average pool"])
def test_other_layers(device, kind, dims):
    torch.manual_seed(0)
    layers = {
        "norm": (OctaveBatchNorm2d, OctaveBatchNorm3d)[dims - 2](32, alpha=0.25),
        "activation": OctaveActivation(nn.ReLU()),
        "max pool": OctavePool((nn.MaxPool2d, nn.MaxPool3d)[dims - 2](3, 2, 1)),
        "average pool": OctavePool((nn.AvgPool2d, nn.AvgPool3d)[dims - 2](2)),
    }
    layer = layers[kind.removesuffix(" in evaluation")].double().train(kind != "norm in evaluation")
    compare(layer, maps(0.25, dims, (12, 16)), device, torch.float32)
