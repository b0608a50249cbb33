import copy

import pytest
import torch
from torch import nn

from octvideo.layers.flat import FlatConv3d, flat_convs


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d], ids=str)
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv3d(4, 6, 1),
        nn.Conv3d(4, 6, (1, 3, 3), (1, 2, 2), (0, 1, 1), groups=2),
        nn.Conv3d(4, 6, (3, 1, 1), (2, 1, 1), (1, 0, 0), bias=False),
        nn.Conv3d(4, 4, (5, 1, 1), padding=(4, 0, 0), dilation=(2, 1, 1), groups=4),
        nn.Conv3d(4, 6, (1, 3, 3), dilation=(1, 2, 2), padding=(0, 2, 2)),
    ],
    ids=str,
)
def test_equals_the_3d_convolution(conv, memory_format, batch):
    torch.manual_seed(0)
    flat = flat_convs(nn.Sequential(copy.deepcopy(conv)))[0]
    assert type(flat) is FlatConv3d
    x = torch.randn(batch, 4, 6, 7, 5).to(memory_format=memory_format).requires_grad_()
    expected = conv(x)
    found = flat(x)
    torch.testing.assert_close(found, expected)
    grad = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(found, [x, *flat.parameters()], grad),
        torch.autograd.grad(expected, [x, *conv.parameters()], grad),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "conv",
    [nn.Conv3d(4, 6, 3), nn.Conv3d(4, 6, (3, 1, 1), (1, 2, 2)), nn.Conv3d(4, 6, 1, padding="same")],
    ids=str,
)
def test_others_stay_as_they_are(conv):
    assert type(flat_convs(nn.Sequential(conv))[0]) is nn.Conv3d
