"""How fine each channel's maps are."""

import numpy as np
import pytest
import torch
from torch import nn

from octvideo import create_model, viz


class Waves(nn.Module):
    """Channel 0 is a wave of 2 cycles over the map, channel 1 one of 14, whatever goes in."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        place = 2 * torch.pi * torch.arange(32) / 32
        waves = torch.stack([torch.sin(2 * place), torch.sin(14 * place)])
        return self.layer(waves[None, :, None, None].expand(1, 2, 4, 32, 32))


def test_a_fine_wave_is_too_fine_and_a_coarse_one_is_not() -> None:
    detail = viz.channel_detail(Waves(), torch.zeros(1, 3, 4, 32, 32), "layer")
    assert detail[0] < 0.01
    assert detail[1] > 0.99


def test_the_last_channels_are_marked_low() -> None:
    figure = viz.plot_channel_detail(np.array([0.1, 0.2, 0.3, 0.8]), alpha=0.25)
    axes = figure.axes[0]
    assert [bar.get_height() for bar in axes.containers[0]] == [0.1, 0.2, 0.3]
    assert [bar.get_height() for bar in axes.containers[1]] == [0.8]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["stays high", "becomes low"]
    assert axes.get_xlabel() == "channel"


def test_a_layer_that_cannot_be_looked_at_is_named() -> None:
    network, clip = create_model("i3d_tiny", alpha=0.25, num_classes=2).eval(), torch.zeros(1, 3, 4, 32, 32)
    with pytest.raises(ValueError, match=r"layer is 'nothing'"):
        viz.channel_detail(network, clip, "nothing")
    with pytest.raises(ValueError, match=r"gives two frequencies"):
        viz.channel_detail(network, clip, "blocks.1.res_blocks.0.branch2.conv_b")
