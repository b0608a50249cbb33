"""The octave layers' own gradient against autograd's, through the same operations."""

import copy

import pytest
import torch
from torch import nn

from octvideo.kernels import training
from octvideo.kernels.build import missing
from octvideo.layers import OctaveConv2d, OctaveConv3d
from octvideo.layers.conv import octave_conv
from octvideo.layers.octave import ChannelSplit


def layers():
    """Kernels, strides, alphas, groups, switches and channel orders."""
    for kernel, stride in (((1, 3, 3), 1), ((3, 1, 1), (2, 1, 1)), ((1, 1, 1), (1, 2, 2)), ((3, 3, 3), 2)):
        padding = tuple(k // 2 for k in kernel)
        for alpha_in, alpha_out in ((0, 0.25), (0.25, 0.5), (0.5, 0), (1, 0.5), (0.5, 1), (1, 1)):
            yield OctaveConv3d(8, 16, kernel, stride, padding, alpha_in=alpha_in, alpha_out=alpha_out)
    half = {"alpha_in": 0.5, "alpha_out": 0.5}
    yield OctaveConv3d(8, 16, (1, 3, 3), 1, (0, 1, 1), groups=8, bias=False, **half)
    yield OctaveConv3d(8, 8, (1, 3, 3), (1, 2, 2), (0, 1, 1), groups=2, **half)
    yield OctaveConv3d(8, 8, 1, high_to_low=False, **half)
    yield OctaveConv3d(8, 8, 1, low_to_high=False, **half)
    yield OctaveConv2d(8, 8, 3, 1, 1, **half)
    interleaved = ChannelSplit((0, 1, 2, 4, 5, 6), (3, 7))
    yield octave_conv(nn.Conv3d(8, 8, 3, 1, 1), interleaved, interleaved)


def inputs(layer, channels_last):
    torch.manual_seed(0)
    time = (4,) if isinstance(layer, OctaveConv3d) else ()
    layout = torch.channels_last_3d if time else torch.channels_last
    for channels, side in ((len(layer.in_split.high), 8), (len(layer.in_split.low), 4)):
        part = torch.randn(2, channels, *time, side, side, dtype=torch.float64) if channels else None
        part = part.to(memory_format=layout) if channels_last and part is not None else part
        yield None if part is None else part.requires_grad_()


def gradients(layer, run, high, low):
    leaves = [part for part in (high, low, *layer.parameters()) if part is not None]
    outputs = [part for part in run() if part is not None]
    torch.manual_seed(1)
    return outputs, torch.autograd.grad(
        outputs, leaves, [torch.randn(part.shape, dtype=torch.float64).to(part.dtype) for part in outputs]
    )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("layer", list(layers()), ids=str)
def test_equals_autograds(layer, channels_last):
    layer = copy.deepcopy(layer).double()
    high, low = inputs(layer, channels_last)
    assert layer._has_own_gradient(high, low, layer.weight, layer.spatial_stride == 2)

    def own():
        x = high if low is None else (high, low)
        y = layer(x)
        return (y,) if isinstance(y, torch.Tensor) else y

    def autograds():
        near = high
        if high is not None and layer.spatial_stride == 2:
            near = nn.functional.avg_pool3d(high, (1, 2, 2))
        return layer._sums(near, low, *layer._in_order())

    outputs, found = gradients(layer, own, high, low)
    again, expected = gradients(layer, autograds, high, low)
    for one, other in zip((*outputs, *found), (*again, *expected), strict=True):
        torch.testing.assert_close(one, other)


def kernel_layers():
    """With channels in eights, as kernels of ours want them."""
    for kernel, stride in (((1, 3, 3), 1), ((3, 1, 1), 1), ((1, 1, 1), (1, 2, 2)), ((3, 3, 3), (1, 2, 2))):
        padding = tuple(k // 2 for k in kernel)
        for alpha_in, alpha_out in ((0, 0.25), (0.25, 0.5), (0.5, 0)):
            yield OctaveConv3d(24, 32, kernel, stride, padding, alpha_in=alpha_in, alpha_out=alpha_out)
    half = {"alpha_in": 0.5, "alpha_out": 0.5}
    yield OctaveConv3d(16, 16, 1, bias=False, high_to_low=False, **half)
    yield OctaveConv3d(16, 16, 1, low_to_high=False, **half)
    yield OctaveConv3d(16, 16, 1, (1, 2, 2), low_to_high=False, **half)
    interleaved = ChannelSplit((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))
    yield octave_conv(nn.Conv3d(16, 16, 3, 1, 1), interleaved, interleaved)


@pytest.mark.skipif(bool(missing(torch.float32)), reason=str(missing(torch.float32)))
@pytest.mark.parametrize("layer", list(kernel_layers()), ids=str)
def test_kernels_of_ours_give_the_same(layer, monkeypatch):
    """In float32, of clips large enough for them, against torch's operations in float64."""
    calls = []
    for name in ("input_gradient", "weight_gradient"):
        kernel = getattr(training, name)
        monkeypatch.setattr(
            training, name, lambda *args, name=name, kernel=kernel: calls.append(name) or kernel(*args)
        )
    in_double = copy.deepcopy(layer).double()
    torch.manual_seed(0)
    high, low = (
        torch.randn(2, channels, 4, side, side, dtype=torch.float64).requires_grad_() if channels else None
        for channels, side in ((len(layer.in_split.high), 24), (len(layer.in_split.low), 12))
    )
    single = [
        None if x is None else x.detach().float().to(memory_format=torch.channels_last_3d).requires_grad_()
        for x in (high, low)
    ]

    def run(layer, high, low):
        y = layer(high if low is None else (high, low))
        return (y,) if isinstance(y, torch.Tensor) else y

    outputs, found = gradients(layer, lambda: run(layer, *single), *single)
    assert set(calls) == {"input_gradient", "weight_gradient"}
    calls.clear()
    again, expected = gradients(in_double, lambda: run(in_double, high, low), high, low)
    assert not calls
    for one, other in zip((*outputs, *found), (*again, *expected), strict=True):
        largest = float(other.detach().abs().max())
        torch.testing.assert_close(one.double() / largest, other / largest, atol=1e-5, rtol=0)


def test_odd_sizes_are_left_to_autograd():
    """Kernels know no gradient: none may run where autograd has to see the operations."""
    layer = OctaveConv3d(16, 16, (1, 3, 3), 1, (0, 1, 1), alpha_in=0.5, alpha_out=0.5)
    in_double = copy.deepcopy(layer).double()
    for height, width in ((25, 24), (24, 25)):
        high = torch.randn(1, 8, 4, height, width)
        low = torch.randn(1, 8, 4, (height + 1) // 2, (width + 1) // 2)
        high, low = (x.to(memory_format=torch.channels_last_3d).requires_grad_() for x in (high, low))
        _, found = gradients(layer, lambda x=(high, low): layer(x), high, low)
        doubles = tuple(x.detach().double().requires_grad_() for x in (high, low))
        _, expected = gradients(in_double, lambda x=doubles: in_double(x), *doubles)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.double(), other, atol=1e-3, rtol=1e-4)


def test_only_what_is_asked_for():
    layer = OctaveConv3d(8, 8, (1, 3, 3), 1, (0, 1, 1), alpha_in=0.5, alpha_out=0.5)
    high, low = torch.randn(1, 4, 2, 8, 8), torch.randn(1, 4, 2, 4, 4)
    layer.bias.requires_grad_(False)
    sum(part.sum() for part in layer((high, low))).backward()
    assert layer.weight.grad is not None
    assert layer.bias.grad is None
    layer.weight.requires_grad_(False)
    high.requires_grad_()
    layer((high, low)).low.sum().backward()
    assert high.grad is not None


def test_keeps_no_pooled_map():
    """For the gradient the layer keeps its inputs and its weight, each once."""
    layer = OctaveConv3d(8, 8, (1, 3, 3), 1, (0, 1, 1), alpha_in=0.5, alpha_out=0.5)
    high, low = torch.randn(1, 4, 2, 8, 8), torch.randn(1, 4, 2, 4, 4)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        layer((high, low))
    assert sorted(kept) == sorted([high.shape, low.shape, layer.weight.shape])
