"""An octave layer drawn from its plan: what is convolved with which block of the weight, and added to what.

C channels, T frames, H height, W width. https://arxiv.org/abs/1904.05049, figure 2.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from octvideo.layers import Octave, OctaveConv2d, OctaveConv3d
from octvideo.viz._figure import BLUE, GREY, ORANGE, new_figure

_COLOURS = {"high": BLUE, "low": ORANGE}
# Where the columns of a drawing begin and end, in hundredths of its width.
_INPUT, _BEFORE, _BLOCK, _AFTER, _OUTPUT = (0, 16), (20, 35), (38, 60), (63, 78), (84, 100)
_WIDTH, _LANE = 10.0, 0.8  # inches: of a drawing, and of the height of a path


@dataclass(frozen=True)
class Path:
    """One of a layer's paths.

    Attributes:
        into: the frequency that it reads, "high" or "low".
        out: the one that it is added to.
        weight_shape: of its block of the dense weight.
        share: of the dense layer's weights, 0 to 1.
        before: size of what is convolved over that of the input: 1, or 1/2 or 1/4 by averages.
        after: size of the output over that of the convolution's result: 1, or 2 by repetition.
        stride: of the convolution itself over height and width, where it and no average shrinks maps.
    """

    into: str
    out: str
    weight_shape: tuple[int, ...]
    share: float
    before: float = 1
    after: float = 1
    stride: int = 1


def paths_of(layer: OctaveConv2d | OctaveConv3d) -> list[Path]:
    """The paths that a layer has, those from high first."""
    rows, columns, *kernel = layer.weight.shape
    if layer.is_dense:
        return [Path("high", "high", tuple(layer.weight.shape), 1.0, stride=layer.stride[-1])]
    paths = [
        Path(
            term.into,
            term.out,
            (len(term.rows), len(term.columns), *kernel),
            len(term.rows) * len(term.columns) / (rows * columns),
            term.before,
            term.after,
            term.geometry.stride[-1],
        )
        for term in layer.plan.terms
    ]
    return sorted(paths, key=lambda path: (path.into, path.out))


def plot_paths(layer: OctaveConv2d | OctaveConv3d, size: Sequence[int]) -> Figure:
    """A layer's paths from left to right, a line each: what is in front, the block of the weight, what is behind.

    Lines that end in one box are added up there. Their thickness is the path's share of the weight.

    Args:
        layer: an octave convolution of any stride.
        size: of the high input without its channels, `(T, H, W)` or `(H, W)`.
    """
    paths = paths_of(layer)
    arrivals = sorted(paths, key=lambda path: (path.out, path.into))  # those of one output side by side
    figure = new_figure(_WIDTH, _LANE * (len(paths) + 0.5))
    axes = figure.subplots()
    axes.set_xlim(-0.5, 100.5)
    axes.set_ylim(len(paths) - 0.5, -0.85)
    axes.axis("off")
    heads = ((_BEFORE, "in front"), (_BLOCK, "convolved with"), (_AFTER, "behind"))
    for (left, right), head in heads:
        axes.text((left + right) / 2, -0.65, head, ha="center", color=GREY, fontsize=9)
    shapes = _shapes(layer, size)
    for side, column, ends in (("in", _INPUT, paths), ("out", _OUTPUT, arrivals)):
        for group, colour in _COLOURS.items():
            lanes = [i for i, path in enumerate(ends) if (path.into if side == "in" else path.out) == group]
            if lanes:
                text = f"{group} {side}\n{_times(shapes[group, side])}"
                _box(axes, column, (lanes[0], lanes[-1]), text, colour, filled=True)
    larger = "repeat" if layer.resample_up == "nearest" else "interpolate"
    for lane, path in enumerate(paths):
        _draw_path(axes, path, lane, arrivals.index(path), larger)
    return figure


def _draw_path(axes: Axes, path: Path, start: int, end: int, larger: str) -> None:
    """One line, from the place of an input to that of an output, with the boxes on it."""
    colour, width = _COLOURS[path.out], 1 + 5 * path.share
    axes.plot((_INPUT[1], _AFTER[1]), (start, start), color=colour, linewidth=width, zorder=1, snap=False)
    arrow = FancyArrowPatch(
        (_AFTER[1], start),
        (_OUTPUT[0], end),
        arrowstyle="-|>",
        mutation_scale=10 + 2 * width,
        shrinkA=0,
        shrinkB=0,
        color=colour,
        linewidth=width,
        zorder=1,
    )
    axes.add_patch(arrow)
    stride = f", stride {path.stride}" if path.stride > 1 else ""
    block = f"W[{path.out}, {path.into}], {path.share:.0%}{stride}\n{_times(path.weight_shape)}"
    _box(axes, _BLOCK, (start, start), block, colour)
    for column, factor in ((_BEFORE, path.before), (_AFTER, path.after)):
        if factor != 1:
            side = f"{max(factor, 1 / factor):g}"
            text = f"{'average' if factor < 1 else larger} {side} x {side}"
            _box(axes, column, (start, start), text, colour)


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _box(
    axes: Axes,
    column: tuple[int, int],
    lanes: tuple[int, int],
    text: str,
    colour: str,
    *,
    filled: bool = False,
) -> None:
    (left, right), (top, bottom) = column, (lanes[0] - 0.32, lanes[1] + 0.32)
    box = FancyBboxPatch(
        (left, top),
        right - left,
        bottom - top,
        boxstyle="round,pad=0,rounding_size=0.8",
        mutation_aspect=_WIDTH / 100 / _LANE,
        facecolor=(colour, 0.2) if filled else "white",
        edgecolor=colour,
        zorder=2,
    )
    axes.add_patch(box)
    axes.text((left + right) / 2, (top + bottom) / 2, text, ha="center", va="center", fontsize=9, zorder=3)


def _shapes(
    layer: OctaveConv2d | OctaveConv3d, size: Sequence[int]
) -> dict[tuple[str, str], tuple[int, ...]]:
    """Shapes without the batch, by frequency and "in" or "out", of a run that computes nothing."""
    sizes = {"high": tuple(size), "low": (*size[:-2], -(-size[-2] // 2), -(-size[-1] // 2))}
    parts = {
        group: torch.empty(1, len(getattr(layer.in_split, group)), *sizes[group], device="meta")
        for group in _COLOURS
        if getattr(layer.in_split, group)
    }
    x = Octave(parts.get("high"), parts["low"]) if "low" in parts else parts["high"]
    with torch.no_grad():
        y = copy.deepcopy(layer).to("meta")(x)
    outputs = dict(high=y) if isinstance(y, Tensor) else dict(zip(_COLOURS, y, strict=True))
    flows = [(parts, "in"), (outputs, "out")]
    return {
        (group, side): tuple(part.shape[1:])
        for found, side in flows
        for group, part in found.items()
        if part is not None
    }
