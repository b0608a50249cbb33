"""OctaveConv against the paper's equations, written out in numpy for float64."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from octvideo.layers import Octave, OctaveConv2d, OctaveConv3d, split_channels

ALPHAS = (0.0, 0.25, 0.5, 1.0)


def conv(x, weight, padding, time_stride, groups):
    """Products of the weight with every window; spatial stride 1. x (B, C, T, H, W)."""
    x = np.pad(x, [(0, 0), (0, 0)] + [(p, p) for p in padding])
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (2, 3, 4))[:, :, ::time_stride]
    parts = zip(np.split(windows, groups, 1), np.split(weight, groups, 0), strict=True)
    # B C T H W and the window's three axes, with C_out C and the same three.
    return np.concatenate(
        [np.moveaxis(np.tensordot(x, w, ((1, 5, 6, 7), (1, 2, 3, 4))), -1, 1) for x, w in parts], 1
    )


def pool(x, side=2):
    """Mean of each 2x2 pixels; at an odd border of those that exist."""
    h, w = x.shape[-2:]
    y = np.zeros((*x.shape[:-2], -(-h // side), -(-w // side)))
    for i, j in itertools.product(range(y.shape[-2]), range(y.shape[-1])):
        y[..., i, j] = x[..., side * i : side * (i + 1), side * j : side * (j + 1)].mean((-2, -1))
    return y


def nearest(x, size):
    return x.repeat(2, -2).repeat(2, -1)[..., : size[0], : size[1]]


def equations(high, low, weight, bias, num_out_high, padding, stride, groups):
    """(out_high, out_low), each None without channels: section 3.3, with a spatial stride as a pool before."""
    num_in_high = 0 if high is None else high.shape[1] // groups
    time_stride, space_stride = stride

    def path(x, rows, columns):
        return conv(x, weight[rows][:, columns], padding, time_stride, groups)

    top, bottom = slice(None, num_out_high), slice(num_out_high, None)
    left, right = slice(None, num_in_high), slice(num_in_high, None)
    out_high = out_low = 0
    if high is not None:
        x = pool(high) if space_stride == 2 else high
        out_high = out_high + path(x, top, left)
        # The authors average once, over 4x4 pixels, where a stride comes to a low output.
        out_low = out_low + path(pool(high, 2 * space_stride), bottom, left)
    if low is not None:
        y = path(low, top, right)
        if space_stride == 1:
            y = nearest(y, (2 * y.shape[-2], 2 * y.shape[-1]) if high is None else high.shape[-2:])
        out_high = out_high + y
        out_low = out_low + path(pool(low) if space_stride == 2 else low, bottom, right)
    out_high = None if num_out_high == 0 else out_high + bias[:num_out_high, None, None, None]
    out_low = None if num_out_high == len(weight) else out_low + bias[num_out_high:, None, None, None]
    return out_high, out_low


def octave_input(channels, alpha, size=(4, 7, 9)):
    t, h, w = size
    num_high, num_low = split_channels(channels, alpha)
    high = torch.randn(2, num_high, t, h, w, dtype=torch.float64) if num_high else None
    low = torch.randn(2, num_low, t, (h + 1) // 2, (w + 1) // 2, dtype=torch.float64) if num_low else None
    return Octave(high, low)


def as_input(x, alpha):
    return x.high if alpha == 0 else x


def as_octave(y):
    return Octave(y, None) if isinstance(y, torch.Tensor) else y


def numpy(x):
    return None if x is None else x.detach().numpy()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 3, 3), (3, 1, 1), (1, 3, 3), (5, 7, 7)], ids=str)
@pytest.mark.parametrize("stride", list(itertools.product((1, 2), (1, 2))), ids=str)
@pytest.mark.parametrize(("alpha_in", "alpha_out"), list(itertools.product(ALPHAS, ALPHAS))[1:])
def test_equals_the_equations(alpha_in, alpha_out, stride, kernel, groups):
    bias = kernel != (1, 3, 3)
    padding = tuple(k // 2 for k in kernel)
    torch.manual_seed(0)
    layer = OctaveConv3d(
        8, 8, kernel, (stride[0], stride[1], stride[1]), padding, groups=groups, bias=bias,
        alpha_in=alpha_in, alpha_out=alpha_out,
    ).double()  # fmt: skip
    for memory_format, size in ((torch.contiguous_format, (4, 5, 7)), (torch.channels_last_3d, (3, 6, 4))):
        x = octave_input(8, alpha_in, size)
        moved = Octave(*(None if p is None else p.to(memory_format=memory_format) for p in x))
        y = as_octave(layer(as_input(moved, alpha_in)))
        expected = equations(
            numpy(x.high), numpy(x.low), numpy(layer.weight), numpy(layer.bias) if bias else np.zeros(8),
            split_channels(8, alpha_out)[0], padding, stride, groups,
        )  # fmt: skip
        for found, wanted in zip(y, expected, strict=True):
            assert (found is None) == (wanted is None)
            if found is not None:
                np.testing.assert_allclose(numpy(found), wanted, atol=1e-10)


@pytest.mark.parametrize("alpha_out", [0.25, 0.5])
@pytest.mark.parametrize("stride", [1, 2])
def test_images_equal_one_frame_clips(alpha_out, stride):
    torch.manual_seed(0)
    image = OctaveConv2d(8, 12, 3, stride, 1, alpha_in=0.5, alpha_out=alpha_out).double()
    clip = OctaveConv3d(
        8, 12, (1, 3, 3), (1, stride, stride), (0, 1, 1), alpha_in=0.5, alpha_out=alpha_out
    ).double()
    clip.load_state_dict({"weight": image.weight[:, :, None], "bias": image.bias})
    x = octave_input(8, 0.5, (1, 7, 9))
    for a, b in zip(image(Octave(x.high[:, :, 0], x.low[:, :, 0])), clip(x), strict=True):
        torch.testing.assert_close(a, b[:, :, 0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("kernel", [1, 3, (3, 1, 1), (1, 3, 3), (5, 7, 7)], ids=str)
@pytest.mark.parametrize("padding", [0, 2])
def test_alpha_zero_is_the_dense_layer_to_the_bit(kernel, padding):
    torch.manual_seed(0)
    octave = OctaveConv3d(4, 6, kernel, 2, padding, groups=2, alpha_in=0, alpha_out=0)
    torch.manual_seed(0)
    dense = nn.Conv3d(4, 6, kernel, 2, padding, groups=2)
    x = torch.randn(2, 4, 6, 9, 11)
    assert octave.state_dict().keys() == dense.state_dict().keys()
    assert torch.equal(octave(x), dense(x))


@pytest.mark.parametrize(("alpha_in", "alpha_out"), list(itertools.product(ALPHAS, ALPHAS)))
def test_a_gradient_reaches_every_weight(alpha_in, alpha_out):
    layer = OctaveConv3d(8, 8, 3, padding=1, alpha_in=alpha_in, alpha_out=alpha_out).double()
    y = as_octave(layer(as_input(octave_input(8, alpha_in), alpha_in)))
    sum(part.square().sum() for part in y if part is not None).backward()
    assert layer.weight.grad.abs().min() > 0
    assert layer.bias.grad.abs().min() > 0


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_layers_keep_the_frequencies_apart(stride, multiplier):
    layer = OctaveConv3d(
        8, 8 * multiplier, 3, (1, stride, stride), 1, groups=8, alpha_in=0.25, alpha_out=0.25
    ).double()
    x = octave_input(8, 0.25)
    rows = 6 * multiplier
    for found, part, own in zip(layer(x), x, (slice(rows), slice(rows, None)), strict=True):
        part = numpy(part)
        part = pool(part) if stride == 2 else part
        expected = conv(part, numpy(layer.weight)[own], (1, 1, 1), 1, part.shape[1])
        np.testing.assert_allclose(
            numpy(found), expected + numpy(layer.bias)[own][:, None, None, None], atol=1e-10
        )


def test_paths_can_be_left_out():
    x = octave_input(8, 0.5)
    settings = {"alpha_in": 0.5, "alpha_out": 0.5, "high_to_low": False, "low_to_high": False}
    layer = OctaveConv3d(8, 8, 1, bias=False, **settings).double()
    y = layer(x)
    weight = numpy(layer.weight)
    np.testing.assert_allclose(numpy(y.high), conv(numpy(x.high), weight[:4, :4], (0, 0, 0), 1, 1))
    np.testing.assert_allclose(numpy(y.low), conv(numpy(x.low), weight[4:, 4:], (0, 0, 0), 1, 1))


def test_stride_downsampling_takes_every_second_pixel():
    x = octave_input(8, 0.5, (2, 7, 9))
    layer = OctaveConv3d(8, 8, 1, bias=False, alpha_in=0.5, alpha_out=0.5, downsample="stride").double()
    weight = numpy(layer.weight)
    expected = conv(numpy(x.high)[..., ::2, ::2], weight[4:, :4], (0, 0, 0), 1, 1)
    expected += conv(numpy(x.low), weight[4:, 4:], (0, 0, 0), 1, 1)
    np.testing.assert_allclose(numpy(layer(x).low), expected)


def test_linear_upsampling_is_torchs():
    x = octave_input(8, 0.5, (2, 7, 9))
    layer = OctaveConv3d(8, 8, 1, bias=False, alpha_in=0.5, alpha_out=0, upsample="linear").double()
    weight = layer.weight
    low = nn.functional.conv3d(x.low, weight[:, 4:])
    up = nn.functional.interpolate(low, scale_factor=(1, 2, 2), mode="trilinear")[..., :7, :9]
    torch.testing.assert_close(layer(x), nn.functional.conv3d(x.high, weight[:, :4]) + up)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha_in": -0.1, "alpha_out": 0.5}, "alpha_in is -0.1; it must be between 0 and 1"),
        ({"alpha_in": 0.5, "alpha_out": 1.5}, "alpha_out is 1.5; it must be between 0 and 1"),
        ({"alpha_in": 0.5, "alpha_out": float("nan")}, "alpha_out is nan"),
        ({"alpha_in": 0.5, "alpha_out": 0.5, "stride": 3}, "spatial stride must be 1 or 2"),
        ({"alpha_in": 0.5, "alpha_out": 0.5, "padding": 0}, "padding is"),
        ({"alpha_in": 0.5, "alpha_out": 0.5, "padding": "same"}, "padding is 'same'"),
        ({"alpha_in": 0.25, "alpha_out": 0.5, "groups": 4}, "groups is 4 with 6 high channels in"),
        ({"alpha_in": 0.25, "alpha_out": 0.5, "groups": 8}, "depth-wise layer needs the same"),
        ({"alpha_in": 0.5, "alpha_out": 0.5, "downsample": "max"}, "downsample is 'max'"),
        ({"alpha_in": 0.5, "alpha_out": 0.5, "upsample": "cubic"}, "upsample is 'cubic'"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        OctaveConv3d(8, 8, 3, **{"padding": 1, **settings})


def test_refuses_an_input_with_other_channels():
    layer = OctaveConv3d(8, 8, 1, alpha_in=0.5, alpha_out=0.5)
    with pytest.raises(ValueError, match="6 high channels; this layer takes 4"):
        layer(Octave(*(p.float() for p in octave_input(8, 0.25))))
