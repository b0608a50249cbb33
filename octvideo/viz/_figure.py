"""Figures without pyplot: they belong to whoever made them, and a notebook shows the one a cell ends with."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
