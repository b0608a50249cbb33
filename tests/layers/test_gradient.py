"""The octave layers' own gradient against autograd's, through the same operations."""

import copy

import pytest
import torch
from torch import nn

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
        outputs, leaves, [torch.randn(part.shape, dtype=part.dtype) for part in outputs]
    )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("layer", list(layers()), ids=str)
def test_equals_autograds(layer, channels_last):
    layer = copy.deepcopy(layer).double()
    high, low = inputs(layer, channels_last)
    assert layer._has_own_gradient(high, low, layer.weight)

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
