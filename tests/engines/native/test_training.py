"""Convolutions in training, and their gradients, against torch's."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from octvideo.engines.native import convolve, weight_gradient
from octvideo.engines.native.weights import pack, unpack
from octvideo.errors import InputError
from octvideo.layers.flat import FlatConv3d

pytestmark = pytest.mark.usefixtures("processor")

# Input and output channels, kernel, spatial stride, stride in time, the clip's size.
CASES = [
    (7, 8, (1, 3, 3), 1, 1, (2, 3, 7, 5)),
    (64, 64, (3, 1, 1), 1, 1, (1, 4, 6, 6)),
    (8, 56, (1, 1, 1), 2, 1, (2, 2, 8, 9)),
    (24, 120, (1, 3, 3), 2, 1, (1, 3, 14, 13)),
    (4, 32, (3, 3, 3), 1, 2, (1, 5, 1, 1)),
    (1, 96, (5, 1, 1), 1, 1, (1, 8, 15, 17)),
    (56, 8, (1, 3, 3), 1, 1, (1, 1, 2, 3)),
    (6, 40, (1, 3, 3), 1, 1, (1, 1, 30, 290)),
    (15, 24, (1, 1, 1), 1, 1, (1, 2, 40, 40)),
]


def clip(*shape):
    return torch.randn(*shape).to(memory_format=torch.channels_last_3d)


def input_gradient(grads, weights, padding, up=None):
    """Of the input that convolutions have in common."""
    return convolve.SumOfConvolutions(weights, None, (1, 1, 1), padding, backwards=True)(grads, up=up)[0]


def close(found, expected):
    largest = float(expected.detach().abs().max())
    torch.testing.assert_close(found.double() / largest, expected.double() / largest, atol=1e-5, rtol=0)


@pytest.mark.parametrize("gap", [0, 5])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients(case, gap):
    torch.manual_seed(0)
    num_in, num_out, kernel, stride, time_stride, (batch, *rest) = case
    strides, padding = (time_stride, stride, stride), tuple(k // 2 for k in kernel)
    x = clip(batch, num_in + gap, *rest)[:, gap:]
    weight = clip(num_out, num_in, *kernel)
    x64, weight64 = (t.double().requires_grad_() for t in (x, weight))
    y = F.conv3d(x64, weight64, None, strides, padding)
    grad = clip(batch, num_out + gap, *y.shape[2:])[:, :num_out]
    x_grad, weight_grad = torch.autograd.grad(y, (x64, weight64), grad.double())

    whole = torch.full((num_out + 8, num_in + 3, *kernel), 7.0)
    out = whole[8:, :num_in]
    assert weight_gradient.weight_gradient(grad, x, out, strides, padding) is out
    close(out, weight_grad)
    assert (whole[:8] == 7).all()
    assert (whole[:, num_in:] == 7).all()
    if stride == time_stride == 1:
        close(input_gradient([grad], [weight], padding), x_grad)
        other, other_grad = clip(8, num_in, *kernel), clip(batch, 8, *y.shape[2:])
        up = clip(batch, num_in, rest[0], (rest[1] + 1) // 2, (rest[2] + 1) // 2)
        more = torch.nn.grad.conv3d_input(x.shape, other.double(), other_grad.double(), strides, padding)
        more = more + up.double().repeat_interleave(2, 3).repeat_interleave(2, 4)[..., : rest[1], : rest[2]]
        close(input_gradient([grad, other_grad], [weight, other], padding, up), x_grad + more)


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": torch.zeros(1, 5, 2, 6, 6)},
        {"x": torch.zeros(1, 4, 2, 6, 6).double()},
        {"x": torch.zeros(4, 2, 6, 6)},
        {"x": torch.zeros(0, 4, 2, 6, 6)},
        {"grad": torch.zeros(1, 8, 2, 6, 5)},
        {"grad": torch.zeros(1, 16, 2, 6, 6)},
        {"grad": torch.zeros(2, 8, 2, 6, 6)},
        {"out": torch.zeros(8, 4, 1, 3, 3).double()},
        {"out": torch.zeros(7, 4, 1, 3, 3), "grad": torch.zeros(1, 7, 2, 6, 6)},
    ],
    ids=lambda wrong: " ".join(f"{k} {tuple(v.shape)}" for k, v in wrong.items()),
)
def test_what_would_read_foreign_memory_is_refused(wrong):
    right = {"grad": clip(1, 8, 2, 6, 6), "x": clip(1, 4, 2, 6, 6), "out": torch.zeros(8, 4, 1, 3, 3)}
    weight_gradient.weight_gradient(**right, stride=(1, 1, 1), padding=(0, 1, 1))
    with pytest.raises(InputError, match="allowed"):
        weight_gradient.weight_gradient(**(right | wrong), stride=(1, 1, 1), padding=(0, 1, 1))


@pytest.mark.parametrize("channels_last", [False, True])
def test_weights_go_there_and_back(channels_last, processor):
    weight = torch.randn(72, 19, 3, 2, 3)
    weight = weight.to(memory_format=torch.channels_last_3d) if channels_last else weight
    packed = pack(weight)
    assert torch.equal(unpack(packed, torch.empty_like(weight)), weight)
    assert torch.equal(pack(weight, backwards=True), pack(weight.transpose(0, 1).flip(2, 3, 4).contiguous()))
    # By hand: the last block ends with the last pixel's last input channel.
    last = {"AVX512": 8, "AVX2": 24, "aarch64": 8}[processor]
    assert torch.equal(packed[-last:], weight[-last:, -1, -1, -1, -1])
    assert torch.equal(packed[:16], weight[:16, 0, 0, 0, 0])


@pytest.fixture
def calls(monkeypatch):
    """The kernels that ran, as a profiler sees them."""
    calls = []
    for module in (convolve, weight_gradient):
        monkeypatch.setattr(module, "shown", lambda name: calls.append(name.split("::")[1]) or nullcontext())
    return calls


def layer_and_clip(size=24):
    torch.manual_seed(0)
    layer = FlatConv3d(8, 16, (1, 3, 3), 1, (0, 1, 1)).to(memory_format=torch.channels_last_3d)
    return layer, clip(1, 8, 2, size, size).requires_grad_()


def test_a_layer_trains_with_them(calls):
    layer, x = layer_and_clip()
    y = layer(x)
    leaves = (x, layer.weight, layer.bias)
    found = torch.autograd.grad(y, leaves, torch.ones_like(y))
    assert sorted(calls) == ["convolve", "convolve", "convolve_weight_gradient"]
    expected = F.conv3d(x.double(), layer.weight.double(), layer.bias.double(), 1, (0, 1, 1))
    close(y, expected)
    doubles = torch.autograd.grad(expected, leaves, torch.ones_like(expected))
    for one, other in zip(found, doubles, strict=True):
        close(one, other)
    assert found[1].is_contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        assert torch.equal(layer(x), y)


def test_a_gradients_gradient(calls):
    layer, x = layer_and_clip()
    twice = []
    for run in (layer, lambda x: F.conv3d(x, layer.weight, layer.bias, 1, (0, 1, 1))):
        (grad,) = torch.autograd.grad(run(x).square().sum(), x, create_graph=True)
        twice.append(torch.autograd.grad(grad.square().sum(), layer.weight)[0])
    close(*twice)
    assert calls[0] == "convolve"


def test_what_must_see_torchs_operations_does(calls):
    layer, x = layer_and_clip()
    with FlopCounterMode(display=False) as counter:
        y = layer(x)
    assert counter.get_total_flops() == 2 * y.numel() * 8 * 9
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    traced = torch.jit.trace(layer, x, check_trace=False)
    assert "conv" in str(traced.inlined_graph)
    _, tangent = torch.func.jvp(layer, (x.detach(),), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, F.conv3d(torch.ones_like(x), layer.weight, None, 1, (0, 1, 1)))
    assert not calls


def test_small_clips_and_other_layouts_are_left_to_torch(calls):
    layer, x = layer_and_clip(size=8)
    layer(x)
    layer, x = layer_and_clip()
    layer(x.contiguous())
    assert not calls
    layer(x)
    assert calls
