"""Spatial frequencies: of a frame, and of the feature maps of a network's two groups.

C channels, T frames, H height, W width. https://arxiv.org/abs/1904.05049, section 3.1 and figure 1.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from octvideo.engines.resample import downsample, upsample
from octvideo.layers import Octave, OctaveConv2d, OctaveConv3d
from octvideo.viz._figure import BLUE, ORANGE, new_figure, picture, plain, two_lines
from octvideo.viz._outputs import layer_outputs

LOW_NYQUIST = 0.25  # cycles a pixel of the high maps: the finest that a map of half their size can hold


def split_frequencies(frame: Tensor) -> tuple[Tensor, Tensor]:
    """The coarse part of a frame, at half its size, and the detail that this loses.

    Args:
        frame: `uint8 (H, W, 3)`.

    Returns:
        `low`, float `(ceil(H / 2), ceil(W / 2), 3)`, and `high`, float `(H, W, 3)`: `high + upsample(low)` is the
        frame. Both in values of 0..255, `high` around 0.
    """
    image = frame.permute(2, 0, 1)[None].float()
    low = downsample(image)
    high = image - upsample(low, (image.shape[-2], image.shape[-1]))
    return low[0].permute(1, 2, 0), high[0].permute(1, 2, 0)


def plot_frequency_split(frame: Tensor) -> Figure:
    """A frame, its coarse part at half the size and the detail left over, drawn to scale.

    Args:
        frame: `uint8 (H, W, 3)`.
    """
    low, high = split_frequencies(frame)
    height, width = frame.shape[:2]
    figure = new_figure(9.5, 9.5 / 3 * height / width + 0.6)
    parts: list[tuple[Any, str]] = [
        (frame, f"frame, {height} x {width}"),
        (low.round().to(torch.uint8), f"low frequency, {low.shape[0]} x {low.shape[1]}"),
        ((high * 2 + 128).clamp(0, 255).to(torch.uint8), "high frequency: what is lost (contrast x 2)"),
    ]
    for axes, (image, title) in zip(figure.subplots(1, 3), parts, strict=True):
        picture(axes, image, title)
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)
    return figure


def octave_outputs(network: nn.Module, clip: Tensor) -> dict[str, Octave]:
    """What every octave convolution with both frequencies gives, in the order in which they run.

    Args:
        network: an octave network; it is left as it is.
        clip: `float (B, 3, T, H, W)`.
    """
    split = [
        path
        for path, module in network.named_modules()
        if isinstance(module, OctaveConv2d | OctaveConv3d) and module.out_split.low and module.out_split.high
    ]
    return layer_outputs(network, clip, split)


def power_spectrum(maps: Tensor, pixel: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Share of a map's variance at each spatial frequency, averaged over all maps.

    Args:
        maps: `(..., H, W)`; the mean of each is taken off.
        pixel: size of its pixels; 2 gives a low map's frequencies in cycles a pixel of the high map.

    Returns:
        Frequencies, cycles a pixel of size 1, and the share of the power in each ring; the shares sum to 1.
    """
    flat = maps.detach().float().cpu().flatten(0, -3)
    height, width = flat.shape[-2:]
    flat = flat - flat.mean(dim=(-2, -1), keepdim=True)
    # A cosine window: the picture does not wrap around at its edges, the transform does.
    window = torch.hann_window(height + 2)[1:-1, None] * torch.hann_window(width + 2)[1:-1]
    power = (torch.fft.fft2(flat * window).abs() ** 2).mean(dim=0)
    radius = (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.fftfreq(width)[None] ** 2).sqrt()
    num_rings = max(min(height, width) // 2, 1)
    ring = (radius * 2 * num_rings).round().long().clamp(max=num_rings)
    shares = torch.bincount(ring.flatten(), power.flatten().double(), minlength=num_rings + 1)
    shares = shares / shares.sum().clamp_min(1e-30)
    return np.arange(num_rings + 1) / (2 * num_rings) / pixel, shares.numpy()


def share_above(maps: Tensor, frequency: float, pixel: float = 1.0) -> float:
    """Share of the maps' variance that is finer than a frequency.

    Args:
        maps: `(..., H, W)`.
        frequency: cycles a pixel of size 1.
        pixel: size of the maps' pixels.
    """
    frequencies, shares = power_spectrum(maps, pixel)
    return float(shares[frequencies > frequency].sum())


def plot_feature_maps(octave: Octave, count: int = 6) -> Figure:
    """Maps of both groups in the clip's middle frame, the most varied channels first.

    Args:
        octave: `high (B, C_high, T, H, W)` and `low (B, C_low, T, H / 2, W / 2)`; the first clip is shown.
        count: maps a group.
    """
    figure = new_figure(1.5 * count, 3.6)
    rows = figure.subplots(2, count, squeeze=False)
    for row, name, maps in zip(rows, ("high", "low"), octave, strict=True):
        assert maps is not None
        frame = maps[0, :, maps.shape[2] // 2].detach().float()
        order = frame.flatten(1).std(dim=1).argsort(descending=True)[:count].tolist()
        for axes in row:
            axes.axis("off")
        for axes, channel in zip(row, order, strict=False):
            axes.axis("on")
            picture(axes, frame[channel], f"{name} {channel}", cmap="viridis")
        row[0].set_ylabel(f"{name}, {frame.shape[-2]} x {frame.shape[-1]}")
    return figure


def plot_spectra(outputs: Mapping[str, Octave], columns: int = 4) -> Figure:
    """Power spectra of the high and the low group, layer by layer, in cycles a pixel of the high maps.

    Args:
        outputs: as `octave_outputs` gives them.
        columns: panels a row.
    """
    rows = -(-len(outputs) // columns)
    figure = new_figure(2.6 * columns, 2.4 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[len(outputs) :]:
        axes.axis("off")
    for axes, (path, octave) in zip(panels, outputs.items(), strict=False):
        assert octave.high is not None
        assert octave.low is not None
        axes.plot(*power_spectrum(octave.high), color=BLUE, marker=".", label="high group")
        axes.plot(*power_spectrum(octave.low, 2.0), color=ORANGE, marker=".", label="low group")
        axes.axvline(LOW_NYQUIST, color="black", linewidth=0.8, linestyle=":")
        plain(axes, "cycles a pixel", "share of power", two_lines(path))
        axes.title.set_fontsize(8)
        axes.set(xlim=(-0.02, 0.52), ylim=(0, None))
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def plot_detail(outputs: Mapping[str, Octave]) -> Figure:
    """The share of each group's power that is too fine for maps of half its own size, layer by layer.

    Args:
        outputs: as `octave_outputs` gives them.
    """
    figure = new_figure(8, 4)
    axes = figure.subplots()
    groups = (("high", BLUE), ("low", ORANGE))
    for name, colour in groups:
        shares = [share_above(getattr(octave, name), LOW_NYQUIST) for octave in outputs.values()]
        axes.plot(shares, color=colour, marker="o", label=f"{name} group")
    axes.set_xticks(range(len(outputs)), list(outputs), rotation=30, ha="right", fontsize=7)
    plain(axes, "layer, in the order in which they run", "share too fine for half size")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure
