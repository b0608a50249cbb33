"""Channels in another order: the dense network stays the same function."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from octvideo.adaptation.channels import move, order_channels
from octvideo.adaptation.tied import tied_channels
from octvideo.models import create_model, octavize
from tests.models.networks import Network, all_networks, randomise_norms

INCEPTION = Network(lambda: create_model("i3d_inception"), (1, 3, 4, 32, 32))


@pytest.mark.parametrize("network", [*all_networks(), pytest.param(INCEPTION, id="i3d_inception")])
def test_any_order_gives_the_same_dense_network(network: Network) -> None:
    torch.manual_seed(0)
    dense = network.build().eval()
    randomise_norms(dense)
    other = copy.deepcopy(dense)
    runs = tied_channels(other)
    for run in runs:
        size = run.channels // run.blocks
        order = torch.cat([b * size + torch.randperm(size) for b in range(run.blocks)])
        move(other, run, order)
    clip = torch.randn(network.shape)
    with torch.no_grad():
        expected, found = dense(clip), other(clip)
    assert sum(run.channels for run in runs) > 500  # of i3d_tiny's 944, others have more
    assert any(not torch.equal(a, b) for a, b in zip(dense.parameters(), other.parameters(), strict=True))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_smooth_channels_become_the_low_ones() -> None:
    """Of a first layer that passes half its channels on blurred, these are the last ones afterwards."""
    torch.manual_seed(0)
    dense = nn.Sequential(
        nn.Conv3d(3, 8, 1), nn.MaxPool3d((1, 2, 2)), nn.Conv3d(8, 8, (1, 5, 5), padding=(0, 2, 2)), nn.ReLU(),
        nn.Conv3d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1),
        nn.Flatten(), nn.Linear(4, 2),
    ).eval()  # fmt: skip
    blur, smooth = dense[2].weight.data, [1, 2, 4, 7]
    blur[smooth] = blur[smooth].mean((-2, -1), keepdim=True).abs()
    clip = torch.randn(1, 3, 4, 32, 32)
    expected = dense(clip)
    order_channels(dense, clip)
    flat = dense[2].weight.data.flatten(3).std(-1).amax((1, 2)) < 1e-6
    assert flat.tolist() == [False] * 4 + [True] * 4
    torch.testing.assert_close(dense(clip), expected)


def test_ordered_channels_lose_less_as_an_octave_network() -> None:
    """Half the channels are the same at all pixels of a block of 2x2: as low ones they lose nothing."""
    torch.manual_seed(0)
    dense = nn.Sequential(
        nn.Conv3d(3, 8, 1), nn.Conv3d(8, 8, 1), nn.ReLU(), nn.Conv3d(8, 8, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    ).eval()  # fmt: skip
    first, second = dense[0].weight.data, dense[1].weight.data
    first[:4, 1:] = 0  # these read the smooth colour alone,
    first[4:, :1] = 0
    second[:4, 4:] = 0  # and so do the first four of the next layer, which an octave network leaves high
    clip = torch.randn(2, 3, 4, 32, 32)
    clip[:, :1] = F.interpolate(clip[:, :1, :, ::2, ::2], scale_factor=(1, 2, 2))
    ordered = copy.deepcopy(dense)
    order_channels(ordered, clip)
    with torch.no_grad():
        at_once, after = (
            float((octavize(d, 0.5, dense_last_stage=False)(clip) - dense(clip)).abs().max())
            for d in (dense, ordered)
        )
    assert after < 1e-5 < at_once


def test_a_layer_that_is_called_twice_keeps_its_order() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.shared = nn.Conv3d(3, 8, 1), nn.Conv3d(8, 8, 1)
            self.last = nn.Conv3d(8, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.shared(self.shared(self.first(x))))

    assert [run.writers for run in tied_channels(Twice())] == []
