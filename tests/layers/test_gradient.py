"""The octave layers' own gradient against finite differences, autograd and, in every engine, torch in float64."""

import copy
import itertools
from contextlib import nullcontext

import pytest
import torch
from torch import nn

import octvideo
import octvideo.engines.native.weight_gradient as native_gradient
from octvideo.engines import ENGINES
from octvideo.layers import OctaveConv2d, OctaveConv3d
from octvideo.layers.conv import octave_conv
from octvideo.layers.flat import FlatConv3d, dense_plan
from octvideo.layers.octave import ChannelSplit

ALPHAS = [(a, b) for a, b in itertools.product((0, 0.5, 1), repeat=2) if a or b]


def parts_of(y):
    return [part for part in ((y,) if isinstance(y, torch.Tensor) else y) if part is not None]


def plan_of(layer):
    return layer.plan if isinstance(layer, OctaveConv2d | OctaveConv3d) else dense_plan(layer)


def inputs(layer, size, batch=1, dtype=torch.float64, layout=None):
    """`size` is of the high map, (T, H, W) or (H, W); the low one has half of it, rounded up."""
    half = (*size[:-2], *(-(-n // 2) for n in size[-2:]))
    split = getattr(layer, "in_split", ChannelSplit.high_first(layer.in_channels, 0))
    for channels, shape in ((len(split.high), size), (len(split.low), half)):
        part = torch.randn(batch, channels, *shape, dtype=dtype) if channels else None
        if part is not None and layout:
            part = part.to(memory_format=layout)
        yield None if part is None else part.requires_grad_()


@pytest.mark.parametrize("size", [(4, 4), (5, 5), (6, 5), (7, 6)], ids=str)
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("alpha_in", "alpha_out"), ALPHAS)
def test_finite_differences(alpha_in, alpha_out, stride, rank, size):
    """Every pair of alphas, stride, parity and rank, in float64; a gradient's gradient, too."""
    torch.manual_seed(0)
    kind = OctaveConv3d if rank == 3 else OctaveConv2d
    kernel = (2, 3, 3)[-rank:]
    layer = kind(
        2, 2, kernel, (1, stride, stride)[-rank:], (0, 1, 1)[-rank:], alpha_in=alpha_in, alpha_out=alpha_out
    ).double()
    x = [part for part in inputs(layer, (2, *size)[-rank:])]
    there = [part for part in x if part is not None]

    def run(weight, bias, *given):
        given = iter(given)
        high, low = (None if part is None else next(given) for part in x)
        state = {"weight": weight, "bias": bias}
        y = torch.func.functional_call(layer, state, (high if low is None else (high, low),))
        return tuple(parts_of(y))

    assert torch.autograd.gradcheck(run, (layer.weight, layer.bias, *there), fast_mode=size != (5, 5))
    assert torch.autograd.gradgradcheck(run, (layer.weight, layer.bias, *there), fast_mode=True)


def layers():
    """Kernels, temporal strides, uneven alphas, groups, switches and channel orders."""
    for kernel, stride in (((1, 3, 3), 1), ((3, 1, 1), (2, 1, 1)), ((1, 1, 1), (1, 2, 2)), ((3, 3, 3), 2)):
        padding = tuple(k // 2 for k in kernel)
        for alpha_in, alpha_out in ((0, 0.25), (0.25, 0.5), (0.5, 0), (1, 0.5), (0.5, 1), (1, 1)):
            yield OctaveConv3d(8, 16, kernel, stride, padding, alpha_in=alpha_in, alpha_out=alpha_out)
    half = {"alpha_in": 0.5, "alpha_out": 0.5}
    yield OctaveConv3d(8, 16, (1, 3, 3), 1, (0, 1, 1), groups=8, bias=False, **half)
    yield OctaveConv3d(8, 8, (1, 3, 3), (1, 2, 2), (0, 1, 1), groups=2, **half)
    yield OctaveConv3d(8, 8, 1, high_to_low=False, **half)
    yield OctaveConv3d(8, 8, 1, low_to_high=False, **half)
    yield OctaveConv3d(8, 8, 1, 2, downsample="stride", **half)
    yield OctaveConv3d(8, 8, 1, upsample="linear", **half)
    yield OctaveConv2d(8, 8, 3, 1, 1, **half)
    interleaved = ChannelSplit((0, 1, 2, 4, 5, 6), (3, 7))
    yield octave_conv(nn.Conv3d(8, 8, 3, 1, 1), interleaved, interleaved)


def gradients(layer, run, x):
    leaves = [part for part in (*x, *layer.parameters()) if part is not None]
    outputs = parts_of(run(layer, x))
    torch.manual_seed(1)
    towards = [torch.randn(part.shape, dtype=torch.float64).to(part.dtype) for part in outputs]
    return (*outputs, *torch.autograd.grad(outputs, leaves, towards))


def own(layer, x):
    return layer(x[0] if x[1] is None else tuple(x))


def autograds(layer, x):
    """By operations that are traced one by one: what `torch.compile` sees."""
    with torch.autograd.forward_ad.dual_level():  # somebody is watching: nothing of ours may run
        return own(layer, x)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("side", [8, 7])
@pytest.mark.parametrize("layer", list(layers()), ids=str)
def test_equals_autograds(layer, side, channels_last):
    layer = copy.deepcopy(layer).double()
    rank = layer.weight.dim() - 2
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[rank] if channels_last else None
    torch.manual_seed(0)
    x = list(inputs(layer, (4, side, side)[-rank:], batch=2, layout=layout))
    for one, other in zip(gradients(layer, own, x), gradients(layer, autograds, x), strict=True):
        torch.testing.assert_close(one, other)


def eights():
    """With channels in eights, as the engine `native` wants them, and a dense layer."""
    for kernel, stride in (((1, 3, 3), 1), ((3, 1, 1), 1), ((1, 1, 1), (1, 2, 2)), ((3, 3, 3), (1, 2, 2))):
        padding = tuple(k // 2 for k in kernel)
        for alpha_in, alpha_out in ((0, 0.25), (0.25, 0.5), (0.5, 0)):
            yield OctaveConv3d(24, 32, kernel, stride, padding, alpha_in=alpha_in, alpha_out=alpha_out)
    half = {"alpha_in": 0.5, "alpha_out": 0.5}
    yield OctaveConv3d(16, 16, 1, bias=False, high_to_low=False, **half)
    yield OctaveConv3d(16, 16, 1, low_to_high=False, **half)
    yield OctaveConv3d(16, 16, 1, (1, 2, 2), low_to_high=False, **half)
    yield OctaveConv3d(16, 16, 1, alpha_in=1, alpha_out=0)
    interleaved = ChannelSplit((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))
    yield octave_conv(nn.Conv3d(16, 16, 3, 1, 1), interleaved, interleaved)
    yield FlatConv3d(16, 24, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    yield FlatConv3d(16, 24, (3, 1, 1), (2, 1, 1), (1, 0, 0))


@pytest.mark.parametrize("side", [24, 25])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("layer", list(eights()), ids=str)
def test_every_engine_gives_the_same(layer, engine, side, monkeypatch):
    """In float32, of clips large enough for it, against torch's operations in float64."""
    calls = []
    in_double = copy.deepcopy(layer).double()
    torch.manual_seed(0)
    x = list(inputs(layer, (4, side, side), batch=2))
    single = [
        None
        if part is None
        else part.detach().float().to(memory_format=torch.channels_last_3d).requires_grad_()
        for part in x
    ]
    plan = plan_of(layer)
    first = next(part for part in single if part is not None)
    reason = ENGINES["native"].unavailable_reason(plan.request(first, layer.weight, trains=True))
    monkeypatch.setattr(native_gradient, "shown", lambda name: calls.append(name) or nullcontext())
    with octvideo.engine(engine):
        found = gradients(layer, own, single)
    has_quarter = side % 2 and any(term.before == 0.25 for term in plan.terms)  # then it is autograd's
    assert bool(calls) == (engine == "native" and reason is None and not has_quarter)
    with octvideo.engine("torch"):
        expected = gradients(in_double, own, x)
    for one, other in zip(found, expected, strict=True):
        largest = float(other.detach().abs().max())
        torch.testing.assert_close(one.double() / largest, other / largest, atol=1e-5, rtol=0)


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
    for stride in (1, 2):
        layer = OctaveConv3d(8, 8, (1, 3, 3), (1, stride, stride), (0, 1, 1), alpha_in=0.5, alpha_out=0.5)
        high, low = torch.randn(1, 4, 2, 8, 8), torch.randn(1, 4, 2, 4, 4)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, k=kept: k.append(t.shape) or t, lambda t: t):
            layer((high, low))
        assert sorted(kept) == sorted([high.shape, low.shape, layer.weight.shape])


def test_functional_transforms_follow_the_layer():
    """`torch.func` sees plain operations: a gradient for each clip of a batch equals the sum's, clip by clip."""
    layer = OctaveConv3d(4, 4, (1, 3, 3), 1, (0, 1, 1), alpha_in=0.5, alpha_out=0.5)
    high, low = torch.randn(3, 2, 2, 8, 8), torch.randn(3, 2, 2, 4, 4)

    def loss(weight, high, low):
        y = torch.func.functional_call(layer, {"weight": weight}, ((high[None], low[None]),))
        return y.high.square().sum() + y.low.sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(layer.weight.detach(), high, low)
    for i in range(3):
        y = layer((high[i : i + 1], low[i : i + 1]))
        (y.high.square().sum() + y.low.sum()).backward()
        torch.testing.assert_close(each[i], layer.weight.grad)
        layer.weight.grad = None
