"""The frozen layers against torch's own operations and the octave layer."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import octvideo
from octvideo.engines import ENGINES
from octvideo.layers import Octave, OctaveConv2d, OctaveConv3d
from octvideo.layers.conv import octave_conv
from octvideo.layers.frozen import FrozenConv
from octvideo.layers.octave import ChannelSplit

CONVS = [
    nn.Conv3d(6, 16, (1, 3, 3), (1, 2, 2), (0, 1, 1)),
    nn.Conv3d(6, 16, (3, 1, 1), (2, 1, 1), (1, 0, 0), bias=False),
    nn.Conv3d(6, 16, 3, 1, 1, groups=2),
    nn.Conv3d(6, 16, 1),
    nn.Conv2d(6, 16, 3, 1, 2, dilation=2),
]
TOLERANCE = {torch.float32: {"atol": 1e-5, "rtol": 1e-5}, torch.bfloat16: {"atol": 0.05, "rtol": 0.02}}


@pytest.fixture(autouse=True, params=ENGINES)
def each_engine(request):
    """Where an engine cannot do a layer, torch does it."""
    with octvideo.engine(request.param):
        yield


def layouts(x):
    return x, x.to(memory_format=torch.channels_last_3d if x.dim() == 5 else torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("conv", CONVS, ids=str)
def test_convolution_addition_and_relu(conv, relu, dtype):
    torch.manual_seed(0)
    x = torch.randn(2, 6, 4, 9, 8) if isinstance(conv, nn.Conv3d) else torch.randn(2, 6, 9, 8)
    conv = copy.deepcopy(conv).to(dtype).requires_grad_(False)
    layer = FrozenConv(conv)
    layer.relu = ("high",) if relu else ()
    for moved in layouts(x.to(dtype)):
        plain = conv(moved).float()
        shortcut = torch.randn(plain.shape).to(dtype)
        for other in (None, *layouts(shortcut), shortcut[..., :1, :1]):
            before = None if other is None else other.clone()
            expected = plain if other is None else plain + other.float()
            found = layer(moved, None, other).float()
            expected = F.relu(expected) if relu else expected
            torch.testing.assert_close(found, expected, **TOLERANCE[dtype])
            assert other is None or torch.equal(other, before)


def test_what_is_added_may_be_larger():
    layer = FrozenConv(CONVS[3])
    x, other = torch.randn(1, 6, 1, 1, 1), torch.randn(1, 16, 2, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, None, other), CONVS[3](x) + other)


def test_a_gradient_passes():
    layer = FrozenConv(CONVS[0])
    x = torch.randn(1, 6, 2, 8, 8, requires_grad=True)
    layer(x).sum().backward()
    expected = torch.autograd.grad(F.conv3d(x, CONVS[0].weight, None, (1, 2, 2), (0, 1, 1)).sum(), x)[0]
    torch.testing.assert_close(x.grad, expected)


def test_can_be_copied_after_use():
    layer = FrozenConv(CONVS[3])
    x = torch.randn(1, 6, 2, 4, 4)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(layer)(x), layer(x))
        assert torch.equal(copy.deepcopy(layer)(x), layer(x))


def test_an_octave_layer_can_be_copied_after_use():
    layer = FrozenConv(OctaveConv3d(8, 8, 1, alpha_in=0.5, alpha_out=0.5))
    high, low = (layouts(torch.randn(1, 4, 2, side, side))[1] for side in (4, 2))
    with torch.no_grad():
        expected = layer(high, low)
        for found, y in zip(copy.deepcopy(layer)(high, low), expected, strict=True):
            assert torch.equal(found, y)


def octave_layers():
    """Kernels, strides, groups, switches and channel orders, each with the shape of its high input."""
    shapes = [((1, 3, 3), 1), ((3, 1, 1), 1), ((1, 1, 1), 2), ((1, 3, 3), 2)]
    for (kernel, stride), (alpha_in, alpha_out) in itertools.product(
        shapes, [(0, 0.25), (0.25, 0.25), (0.25, 0), (0.5, 0.25)]
    ):
        padding = tuple(k // 2 for k in kernel)
        settings = {"alpha_in": alpha_in, "alpha_out": alpha_out}
        # 12 + 4 channels fill one vector: with kernels of one pixel, one convolution gives both outputs.
        yield OctaveConv3d(8, 16, kernel, (1, stride, stride), padding, **settings)
    yield OctaveConv3d(8, 8, (1, 3, 3), 1, (0, 1, 1), groups=8, alpha_in=0.5, alpha_out=0.5)
    yield OctaveConv3d(8, 8, (1, 3, 3), 1, (0, 1, 1), groups=2, alpha_in=0.5, alpha_out=0.5)
    yield OctaveConv3d(8, 8, 1, bias=False, alpha_in=0.5, alpha_out=0.5, low_to_high=False)
    yield OctaveConv3d(8, 8, 1, bias=False, alpha_in=0.5, alpha_out=0.5, high_to_low=False)
    yield OctaveConv3d(8, 8, 1, 2, alpha_in=0.5, alpha_out=0.5, downsample="stride")
    yield OctaveConv3d(8, 8, 1, alpha_in=0.5, alpha_out=0.5, upsample="linear")
    yield OctaveConv2d(8, 8, 3, 1, 1, alpha_in=0.25, alpha_out=0.5)
    interleaved = ChannelSplit((0, 1, 2, 4, 5, 6), (3, 7))
    yield octave_conv(nn.Conv3d(8, 8, 3, 1, 1), interleaved, interleaved)


@pytest.mark.parametrize("layer", list(octave_layers()), ids=str)
def test_octave_convolution_addition_and_relu(layer):
    torch.manual_seed(0)
    layer.requires_grad_(False)
    time = (2,) if isinstance(layer, OctaveConv3d) else ()
    for side in (8, 7):
        low_side = (side + 1) // 2
        high = torch.randn(2, len(layer.in_split.high), *time, side, side)
        low = (
            torch.randn(2, len(layer.in_split.low), *time, low_side, low_side) if layer.in_split.low else None
        )
        high, low = (None if part is None else layouts(part)[1] for part in (high, low))
        plain = layer(high if low is None else Octave(high, low))
        plain = [plain] if isinstance(plain, torch.Tensor) else list(plain)
        for others in ([None, None], [torch.randn_like(y) for y in plain], [y[..., :1, :1] for y in plain]):
            for relu in itertools.product((False, True), repeat=len(plain)):
                fast = FrozenConv(layer)
                fast.relu = tuple(name for name, on in zip(("high", "low"), relu, strict=False) if on)
                found = fast(high, low, *others)
                found = [found] if isinstance(found, torch.Tensor) else found
                for y, z, other, on in zip(found, plain, others, relu, strict=False):
                    expected = z if other is None else z + other
                    torch.testing.assert_close(y, F.relu(expected) if on else expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layer", list(octave_layers()), ids=str)
def test_what_is_added_may_be_overwritten(layer):
    """The same outputs where the memory of what is added is given up, and nothing else is touched."""
    torch.manual_seed(0)
    layer.requires_grad_(False)
    time = (2,) if isinstance(layer, OctaveConv3d) else ()
    high = layouts(torch.randn(2, len(layer.in_split.high), *time, 8, 8))[1]
    low = layouts(torch.randn(2, len(layer.in_split.low), *time, 4, 4))[1] if layer.in_split.low else None
    plain = layer(high if low is None else Octave(high, low))
    plain = [plain] if isinstance(plain, torch.Tensor) else list(plain)
    fast = FrozenConv(layer)
    fast.overwrites = fast.outputs
    inputs = [part.clone() for part in (high, low) if part is not None]
    for dtype in (torch.float32, torch.bfloat16):
        others = [torch.randn_like(y).to(dtype) for y in plain]
        expected = [y + other for y, other in zip(plain, others, strict=True)]
        fast = fast.to(dtype)
        found = fast(high.to(dtype), None if low is None else low.to(dtype), *others)
        for y, z in zip([found] if isinstance(found, torch.Tensor) else found, expected, strict=True):
            torch.testing.assert_close(y.float(), z, **TOLERANCE[dtype])
    assert all(map(torch.equal, inputs, [part for part in (high, low) if part is not None]))
