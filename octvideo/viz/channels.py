"""Which channels of a layer would do at half the size: what the low group of an octave twin is given.

C channels, T frames, H height, W width.
"""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from octvideo.errors import InputError
from octvideo.layers.octave import split_channels
from octvideo.viz._figure import BLUE, ORANGE, new_figure, plain
from octvideo.viz._outputs import layer_outputs
from octvideo.viz.frequency import LOW_NYQUIST, share_above


def channel_detail(network: nn.Module, clip: Tensor, layer: str) -> np.ndarray:
    """The share of each channel's power that is too fine for maps of half the size.

    Args:
        network: takes `clip`; it is left as it is.
        clip: `float (B, 3, T, H, W)`.
        layer: path of a module that gives one tensor, `(B, C, T, H, W)`: a convolution of a dense network, say.

    Returns:
        `float64 (C,)`, 0 to 1.

    Raises:
        ValueError: the network has no such layer, or it gives two frequencies.
    """
    if layer not in dict(network.named_modules()):
        raise InputError(f"layer is {layer!r}; it must be the path of a module of the network")
    maps = layer_outputs(network, clip, [layer])[layer]
    if not isinstance(maps, Tensor):
        raise InputError(f"layer is {layer!r}, which gives two frequencies; it must give one tensor")
    return np.array([share_above(channel, LOW_NYQUIST) for channel in maps.transpose(0, 1)])


def plot_channel_detail(detail: np.ndarray, alpha: float) -> Figure:
    """The shares of `channel_detail`, with the channels that become low ones at this alpha marked.

    Args:
        detail: `(C,)`, of a layer without groups, whose last channels become the low ones.
        alpha: the octave ratio.
    """
    high, _ = split_channels(len(detail), alpha)
    figure = new_figure(8, 3)
    axes = figure.subplots()
    channels = np.arange(len(detail))
    for part, colour, name in (
        (slice(high), BLUE, "stays high"),
        (slice(high, None), ORANGE, "becomes low"),
    ):
        axes.bar(channels[part], detail[part], color=colour, label=name)
        if len(detail[part]):
            ends = (channels[part][0] - 0.5, channels[part][-1] + 0.5)
            axes.hlines(float(np.mean(detail[part])), *ends, color="black", linewidth=1)
    plain(axes, "channel", "share too fine for half size", "lines: mean of the group")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure
