"""A training while it runs, and what came of it: curves, confusion, accuracy by class, one network beside another.

C classes.
"""

import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger
from matplotlib.figure import Figure

from octvideo.errors import InputError, MissingPackageError
from octvideo.evaluation.metrics import class_accuracy, confusion_matrix
from octvideo.evaluation.plots import draw_confusion, draw_curves
from octvideo.evaluation.scores import VideoScores
from octvideo.viz._figure import BLUE, GREY, ORANGE, name_points, new_figure, plain


class LiveCurves(Logger):
    """A logger for Lightning's `Trainer` that draws loss, accuracy and learning rate as they come.

    `Trainer(logger=LiveCurves(), log_every_n_steps=2)` in a notebook shows one picture that is drawn anew.

    Args:
        every_seconds: at least, from one drawing to the next.
        show: takes each `Figure`; None puts it below the notebook's cell, and needs IPython.

    Raises:
        ImportError: IPython is needed and is not installed.
    """

    def __init__(self, *, every_seconds: float = 2.0, show: Callable[[Figure], None] | None = None) -> None:
        super().__init__()
        self.points: dict[str, list[tuple[float, float]]] = {}
        self.every_seconds = every_seconds
        self.show = show or _notebook_display()
        self._drawn_seconds = time.monotonic()

    @property
    def name(self) -> str:
        return "live"

    @property
    def version(self) -> str:
        return ""

    @property
    def curves(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """`{name: (steps, values)}` of everything that was logged so far, a number a step."""
        return {name: (np.array(p)[:, 0], np.array(p)[:, 1]) for name, p in self.points.items()}

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Settings are not drawn."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            points = self.points.setdefault(name, [])
            points.append((len(points) if step is None else step, float(value)))
        if time.monotonic() - self._drawn_seconds >= self.every_seconds:
            self.draw()

    def finalize(self, status: str) -> None:
        self.draw()

    def draw(self) -> None:
        """Shows the curves as they are now."""
        figure = draw_curves(self.curves)
        if figure is not None:
            self.show(figure)
        self._drawn_seconds = time.monotonic()


def _notebook_display() -> Callable[[Figure], None]:
    """Shows a first figure below the cell and puts every later one in its place."""
    try:
        from IPython.display import DisplayHandle
    except ImportError:
        raise MissingPackageError("LiveCurves() needs IPython: pip install 'octvideo[notebooks]'") from None
    handle = DisplayHandle()
    shown: list[Figure] = []

    def show(figure: Figure) -> None:
        (handle.update if shown else handle.display)(figure)
        shown[:] = [figure]

    return show


def plot_confusion(scores: VideoScores, class_names: Sequence[str] | None = None) -> Figure:
    """The confusion matrix of a test.

    Args:
        scores: of the test; videos without a label are left out.
        class_names: C names; None numbers them.
    """
    return draw_confusion(confusion_matrix(scores), class_names)


def plot_class_accuracy(tests: Mapping[str, VideoScores], class_names: Sequence[str]) -> Figure:
    """Top-1 of every class, a bar a test; the class with the lowest accuracy in the first test comes first.

    Args:
        tests: one or more, by the names to show, over the same classes.
        class_names: C names.

    Raises:
        ValueError: there is no test.
    """
    if not tests:
        raise InputError("tests is empty, allowed is one or more")
    accuracy = {name: 100 * class_accuracy(confusion_matrix(scores)) for name, scores in tests.items()}
    order = np.argsort(next(iter(accuracy.values())), kind="stable")
    figure = new_figure(7, 1.2 + 0.17 * len(order) * (len(tests) + 0.5))
    axes = figure.subplots()
    height = 0.8 / len(tests)
    for number, (name, values) in enumerate(accuracy.items()):
        colour = (BLUE, ORANGE, GREY)[number % 3]
        places = np.arange(len(order)) + (number - (len(tests) - 1) / 2) * height
        axes.barh(places, values[order], height=0.9 * height, color=colour, label=name)
    axes.set_yticks(range(len(order)), [class_names[c] for c in order], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    plain(axes, "top-1, %", "class")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def plot_choices(choices: Mapping[str, tuple[float, float]], *, dense: tuple[float, float]) -> Figure:
    """Networks by what they save and what they know: the upper right is best.

    Args:
        choices: `{name: (multiply-adds, accuracy from 0 to 1)}`, one or more.
        dense: the same two of the dense network.

    Raises:
        ValueError: there is no choice.
    """
    if not choices:
        raise InputError("choices is empty, allowed is one or more")
    figure = new_figure(8.5, 4)
    axes = figure.subplots()
    macs, accuracy = dense
    points = {name: (100 * (1 - cost / macs), 100 * share) for name, (cost, share) in choices.items()}
    axes.plot(*zip(*points.values(), strict=True), "o", color=BLUE)
    axes.axhline(100 * accuracy, color=GREY, linestyle=":", label="dense")
    axes.margins(x=0.1, y=0.15)
    plain(axes, "multiply-adds saved, %", "accuracy, %")
    axes.legend(frameon=False, fontsize=8)
    name_points(figure, axes, points)
    return figure
