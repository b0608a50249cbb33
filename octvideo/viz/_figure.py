"""Figures without pyplot: they belong to whoever made them, and a notebook shows the one a cell ends with."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

# Where a point's name may stand: right, left, above, below, and the corners. Points away, and its alignment.
_PLACES = [
    (6 * x, 6 * y, ("right", "center", "left")[x + 1], ("top", "center", "bottom")[y + 1])
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
]
BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#8a8f98"  # high, low, what is only context


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    figure = Figure(figsize=(width, height), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def picture(axes: Axes, image: Any, title: str = "", **how: Any) -> None:
    """An image without ticks; `how` goes to `imshow`."""
    axes.imshow(as_array(image), **how)
    axes.set_xticks([])
    axes.set_yticks([])
    if title:
        axes.set_title(title, fontsize=9)


def plain(axes: Axes, xlabel: str, ylabel: str, title: str = "") -> None:
    """Labels, a light grid, and no box around."""
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def as_array(values: Any) -> np.ndarray:
    """A tensor, an array or a list as an array."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def name_points(figure: Figure, axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Names beside points, each where it covers neither a point nor another name, if there is such a place.

    Args:
        figure: whole but for the names.
        axes: of the points.
        points: `{name: (x, y)}`.
    """
    figure.draw_without_rendering()  # the layout has to stand
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform(list(points.values()))]
    for name, point in points.items():
        for x, y, across, up in _PLACES:
            text = axes.annotate(
                name, point, (x, y), textcoords="offset points", ha=across, va=up, fontsize=8
            )
            box = text.get_window_extent()
            is_inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if is_inside and not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            axes.annotate(name, point, _PLACES[0][:2], textcoords="offset points", fontsize=8)
        taken.append(box)


def two_lines(path: str) -> str:
    """A module's path broken at the dot nearest to its middle: names side by side have to be narrow."""
    dots = [place for place, letter in enumerate(path) if letter == "."]
    if not dots:
        return path
    middle = min(dots, key=lambda place: abs(place - len(path) / 2))
    return f"{path[: middle + 1]}\n{path[middle + 1 :]}"
