"""What an octave layer sees, costs, and changes of a dense one. https://arxiv.org/abs/1904.05049

C channels, T frames, H height, W width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from octvideo.engines.resample import downsample
from octvideo.errors import InputError
from octvideo.layers import Octave, OctaveConv2d, OctaveConv3d, split_channels
from octvideo.layers.channelwise import merge
from octvideo.models import layer_costs, octavize
from octvideo.viz._figure import BLUE, GREY, ORANGE, new_figure, picture, plain
from octvideo.viz.paths import paths_of

# Table 1 of the paper: percent of the dense layer.
PAPER_ALPHAS = (0.0, 0.125, 0.25, 0.5, 0.75, 0.875, 1.0)
PAPER_FLOPS = (100, 82, 67, 44, 30, 26, 25)
PAPER_MEMORY = (100, 91, 81, 63, 44, 35, 25)


def receptive_field(layers: nn.Module, channels: tuple[int, int], side: int, frequency: str) -> Tensor:
    """How much each pixel of one group's input moves the middle pixel of the same group's output.

    With paths between the frequencies (the default of a layer) both groups see as far as the low one.

    Args:
        layers: octave layers that take and give both groups, in 3D.
        channels: (high, low) of the input.
        side: height and width of the input, a multiple of 4.
        frequency: "high" or "low".

    Returns:
        `(side, side)`: absolute gradients at full resolution, at most 1.

    Raises:
        ValueError: `frequency` is neither "high" nor "low".
    """
    if frequency not in ("high", "low"):
        raise InputError(f"frequency is {frequency!r}; it must be 'high' or 'low'")
    image = torch.zeros(1, 1, 1, side, side, requires_grad=True)
    nothing = torch.zeros(1, channels[1], 1, side // 2, side // 2)
    if frequency == "high":
        x = Octave(image.expand(-1, channels[0], -1, -1, -1), nothing)
    else:
        low = downsample(image).expand(-1, channels[1], -1, -1, -1)
        x = Octave(torch.zeros(1, channels[0], 1, side, side), low)
    y: Any = layers(x)
    map_ = y.high if frequency == "high" else y.low
    # One output channel at a time, in absolute values: their gradients could cancel.
    gradient = torch.zeros(side, side)
    for channel in range(map_.shape[1]):
        middle = map_[0, channel, 0, map_.shape[-2] // 2, map_.shape[-1] // 2]
        (one,) = torch.autograd.grad(middle, image, retain_graph=True)
        gradient += one[0, 0, 0].abs()
    return gradient / gradient.max()


def field_width(gradient: Tensor) -> int:
    """Width in pixels of the box around everything that is not 0 in a `gradient (H, W)`."""
    columns = gradient.ne(0).any(dim=0).nonzero().flatten()
    return int(columns[-1] - columns[0] + 1) if len(columns) else 0


def plot_receptive_fields(layers: nn.Module, channels: tuple[int, int], side: int = 32) -> Figure:
    """The receptive fields of the high and of the low group side by side.

    Args:
        layers: octave layers that take and give both groups, in 3D.
        channels: (high, low) of the input.
        side: height and width of the input in pixels, a multiple of 4.
    """
    figure = new_figure(6.5, 3.5)
    for axes, frequency in zip(figure.subplots(1, 2), ("high", "low"), strict=True):
        gradient = receptive_field(layers, channels, side, frequency)
        picture(axes, gradient, f"{frequency}: {field_width(gradient)} pixels wide", cmap="magma")
        axes.set_xlabel("x, pixels of the high map")
        axes.set_ylabel("y")
    return figure


def layer_cost(
    alpha: float, channels: int = 64, size: tuple[int, int, int] = (8, 32, 32)
) -> tuple[float, float]:
    """Multiply-adds and numbers in the output of a 3 x 3 x 3 layer, as shares of the dense layer's.

    Args:
        alpha: of its input and its output.
        channels: in and out.
        size: `(T, H, W)` of the high maps, even.
    """
    high, low = split_channels(channels, alpha)
    num_frames, height, width = size
    layer = OctaveConv3d(channels, channels, 3, padding=1, alpha_in=alpha, alpha_out=alpha)
    full, quarter = num_frames * height * width, num_frames * height * width // 4
    macs = sum(
        27
        * path.weight_shape[0]
        * path.weight_shape[1]
        * (full if path.into == path.out == "high" else quarter)
        for path in paths_of(layer)
    )
    return macs / (27 * channels**2 * full), (high * full + low * quarter) / (channels * full)


def plot_cost(alphas: Sequence[float] = PAPER_ALPHAS) -> Figure:
    """Work and memory of one layer against alpha, computed, beside Table 1 of the paper.

    Args:
        alphas: octave ratios of the computed lines, ascending.
    """
    figure = new_figure(6, 3.6)
    axes = figure.subplots()
    costs = [layer_cost(alpha) for alpha in alphas]
    axes.plot(alphas, [100 * macs for macs, _ in costs], color=BLUE, label="multiply-adds, computed")
    axes.plot(alphas, [100 * memory for _, memory in costs], color=ORANGE, label="memory, computed")
    axes.plot(PAPER_ALPHAS, PAPER_FLOPS, "o", color=BLUE, label="FLOPs, Table 1")
    axes.plot(PAPER_ALPHAS, PAPER_MEMORY, "o", color=ORANGE, label="memory, Table 1")
    plain(axes, "alpha", "percent of the dense layer")
    axes.set_ylim(0, 105)
    axes.legend(frameon=False, fontsize=8)
    return figure


def plot_network_cost(model: nn.Module, shape: Sequence[int]) -> Figure:
    """Every convolution's multiply-adds, as it runs, in front of the dense layer's.

    Args:
        model: what `octavize` or `create_model` gave.
        shape: of its input, `(1, 3, T, H, W)`.
    """
    costs = layer_costs(model, shape)
    figure = new_figure(9, 3.4)
    axes = figure.subplots()
    positions = range(len(costs))
    axes.bar(positions, [c.dense_macs / 1e6 for c in costs], color=GREY, alpha=0.35, label="dense")
    axes.bar(positions, [c.macs / 1e6 for c in costs], color=BLUE, width=0.5, label="octave")
    if len(costs) <= 30:
        axes.set_xticks(positions, [c.path for c in costs], rotation=60, ha="right", fontsize=6)
    plain(axes, "convolution, in the order in which they run", "million multiply-adds")
    axes.legend(frameon=False)
    return figure


def layer_errors(network: nn.Module, alpha: float, clip: Tensor) -> dict[str, float]:
    """How far each octave convolution is from the dense one, given the dense network's input.

    Args:
        network: a dense network; in evaluation mode.
        alpha: of the octave twin.
        clip: `float (B, 3, T, H, W)`.

    Returns:
        By path, ``|octave - dense| / |dense|`` (2-norms) with the octave result at the dense size, for every
        convolution that the twin splits. An input that is not split in the dense network is split as the twin's is.
    """
    twin = dict(octavize(network, alpha).eval().named_modules())
    errors: dict[str, float] = {}

    def compare(path: str, octave: OctaveConv2d | OctaveConv3d) -> Any:
        def hook(_: nn.Module, args: Any, output: Tensor) -> None:
            (x,) = args
            high, low = (list(part) for part in (octave.in_split.high, octave.in_split.low))
            y: Any = octave(Octave(x[:, high], downsample(x[:, low])) if low else x)
            if not isinstance(y, Tensor):
                order = torch.tensor(octave.out_split.merge_order)
                y = merge(y.high, y.low, order)
            errors[path] = float((y - output).norm() / output.norm().clamp_min(1e-12))

        return hook

    handles = []
    for path, module in network.named_modules():
        octave = twin.get(path)
        if isinstance(octave, OctaveConv2d | OctaveConv3d) and not octave.is_dense:
            handles.append(module.register_forward_hook(compare(path, octave)))
    try:
        with torch.no_grad():
            network(clip)
    finally:
        for handle in handles:
            handle.remove()
    return errors


def plot_layer_errors(errors: Mapping[str, float]) -> Figure:
    """A bar a layer, in the order in which they run; `errors` as `layer_errors` gives them."""
    figure = new_figure(8, 4.2)
    axes = figure.subplots()
    axes.bar(range(len(errors)), list(errors.values()), color=BLUE)
    if len(errors) <= 60:
        axes.set_xticks(range(len(errors)), list(errors), rotation=45, ha="right", fontsize=7)
    plain(axes, "convolution, in the order in which they run", "relative difference from dense")
    return figure
