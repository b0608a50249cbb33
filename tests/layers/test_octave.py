import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import octvideo.layers.sums
from octvideo.engines.resample import add_upsampled, downsample, upsample
from octvideo.layers import (
    ChannelSplit,
    Octave,
    OctaveActivation,
    OctaveBatchNorm3d,
    OctaveConv3d,
    OctavePool,
    split_channels,
)
from octvideo.layers.channelwise import merge


@pytest.mark.parametrize(
    ("channels", "alpha", "multiple", "expected"),
    [
        (64, 0.0, 1, (64, 0)),
        (64, 0.125, 1, (56, 8)),
        (64, 0.1, 1, (58, 6)),
        (10, 0.25, 1, (8, 2)),
        (8, 0.1, 1, (8, 0)),
        (7, 1.0, 1, (0, 7)),
        (64, 0.1, 8, (56, 8)),
        (64, 0.2, 8, (48, 16)),
        (64, 0.01, 8, (56, 8)),
        (64, 0.99, 16, (16, 48)),
        (8, 0.25, 8, (6, 2)),
    ],
)
def test_split_channels(channels, alpha, multiple, expected):
    assert split_channels(channels, alpha, multiple) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.5), "channels is 0"),
        ((8, -1), "alpha is -1; it must be between 0 and 1"),
        ((8, 0.5, 0), "channel_multiple is 0"),
    ],
)
def test_split_channels_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_channels(*arguments)


def test_channel_split_by_hand():
    blocks = ChannelSplit.in_blocks(4, 2, 2)
    assert blocks == ChannelSplit((0, 1, 3, 4), (2, 5))
    both = ChannelSplit.concatenate([ChannelSplit.high_first(2, 1), blocks])
    assert both == ChannelSplit((0, 1, 3, 4, 6, 7), (2, 5, 8))
    assert both.merge_order == (0, 1, 6, 2, 3, 7, 4, 5, 8)
    assert ChannelSplit.high_first(1, 1).repeat_each(2) == ChannelSplit((0, 1), (2, 3))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_resampling_equals_torchs_3d_operations(memory_format):
    x = torch.randn(2, 3, 4, 7, 9).to(memory_format=memory_format)
    pooled = nn.functional.avg_pool3d(x, (1, 2, 2), ceil_mode=True, count_include_pad=False)
    torch.testing.assert_close(downsample(x), pooled)
    doubled = nn.functional.interpolate(x, scale_factor=(1, 2, 2))
    assert torch.equal(upsample(x, (13, 18)), doubled[..., :13, :])
    torch.testing.assert_close(
        upsample(x, mode="linear"), nn.functional.interpolate(x, scale_factor=(1, 2, 2), mode="trilinear")
    )


def test_merge_puts_the_channels_in_dense_order():
    high, low = torch.ones(1, 2, 1, 3, 3), torch.full((1, 1, 1, 2, 2), 5.0)
    assert merge(high, low, torch.tensor([0, 2, 1]))[0, :, 0, 2, 2].tolist() == [1, 5, 1]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_is_two_norms_over_the_rows(momentum):
    torch.manual_seed(0)
    norm = OctaveBatchNorm3d(6, momentum=momentum, alpha=0.5)
    nn.init.uniform_(norm.weight)
    parts = [nn.BatchNorm3d(3, momentum=momentum) for _ in range(2)]
    for part, rows in zip(parts, (slice(3), slice(3, 6)), strict=True):
        part.weight.data = norm.weight.data[rows].clone()
    for _ in range(2):
        x = Octave(torch.randn(2, 3, 2, 4, 4), torch.randn(2, 3, 2, 2, 2))
        for y, part, y_in in zip(norm(x), parts, x, strict=True):
            torch.testing.assert_close(y, part(y_in))
    torch.testing.assert_close(norm.running_var, torch.cat([p.running_var for p in parts]))
    torch.testing.assert_close(norm.running_mean, torch.cat([p.running_mean for p in parts]))
    assert norm.num_batches_tracked == 2
    norm.eval()
    for y, part, y_in in zip(norm(x), parts, x, strict=True):
        torch.testing.assert_close(y, part.eval()(y_in))


def test_activation_and_one_frequency():
    x = Octave(None, torch.tensor([-1.0, 2.0]).view(1, 2, 1, 1, 1))
    y = OctaveActivation(nn.ReLU())(x)
    assert y.high is None
    assert y.low.flatten().tolist() == [0, 2]
    assert OctaveBatchNorm3d(2, alpha=1.0).eval()(x).low.shape == x.low.shape


@pytest.mark.parametrize(
    "pool", [nn.MaxPool3d(3, 2, 1), nn.MaxPool3d((1, 2, 2)), nn.AvgPool3d(2), nn.MaxPool3d(2, 1)], ids=str
)
@pytest.mark.parametrize("side", [6, 7, 8, 9, 10, 13])
def test_pooled_low_is_half_of_pooled_high(pool, side):
    half = (side + 1) // 2
    high, low = torch.randn(1, 2, 4, side, side), torch.randn(1, 2, 4, half, half)
    y = OctavePool(pool)(Octave(high, low))
    assert torch.equal(y.high, pool(high))
    wanted = (y.high.shape[-1] + 1) // 2
    assert y.low.shape == (1, 2, y.high.shape[2], wanted, wanted) if pool.stride != 1 else True
    inside = pool(low)[..., : y.low.shape[-2], : y.low.shape[-1]]
    assert torch.equal(y.low[..., : inside.shape[-2], : inside.shape[-1]], inside)


@pytest.mark.parametrize("side", [6, 7])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d], ids=str)
def test_gradients_of_resampling_equal_torchs(side, memory_format):
    torch.manual_seed(0)

    def gradients(pool, add):
        torch.manual_seed(1)
        y = torch.randn(2, 3, 2, side, side, dtype=torch.float64).to(memory_format=memory_format)
        y.requires_grad_()
        pooled = pool(y)
        z = torch.randn(pooled.shape, dtype=torch.float64, requires_grad=True)
        loss = (pooled**3).sum() + (add(y, z) ** 3).sum()
        first = torch.autograd.grad(loss, (y, z), create_graph=True)
        return [*first, *torch.autograd.grad(sum((g**2).sum() for g in first), (y, z))]

    def plain_pool(x):
        return F.avg_pool3d(x, (1, 2, 2), ceil_mode=True, count_include_pad=False)

    def plain_add(y, z):
        return y + F.interpolate(z, scale_factor=(1, 2, 2))[..., :side, :side]

    for found, expected in zip(
        gradients(downsample, add_upsampled), gradients(plain_pool, plain_add), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_the_pooled_map_is_not_kept_for_the_gradient(monkeypatch):
    """What a layer's gradient needs beside its inputs and weight is made again; see also the gradient tests."""
    pooled = []

    def remembered(x):
        y = downsample(x)
        pooled.append(weakref.ref(y))
        return y

    monkeypatch.setattr(octvideo.layers.sums, "downsample", remembered)
    layer = OctaveConv3d(8, 8, 1, bias=False, alpha_in=0.5, alpha_out=0.5)
    high = torch.randn(1, 4, 2, 8, 8, requires_grad=True)
    y = layer(Octave(high, torch.randn(1, 4, 2, 4, 4)))
    assert len(pooled) == 1
    assert pooled[0]() is None
    found = torch.autograd.grad(y.low.sum(), high)[0]
    weight = layer.weight[4:, :4].sum((0, 2, 3, 4)) / 4  # each high pixel is a quarter of one low pixel
    torch.testing.assert_close(found, weight.view(1, 4, 1, 1, 1).expand_as(high))
