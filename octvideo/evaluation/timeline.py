"""The scores of a video over its time: joined from overlapping windows, drawn, and looked up at a moment."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from octvideo.evaluation.plots import _figure
from octvideo.evaluation.results import class_name, top_classes
from octvideo.files import replacing

NUM_ROWS = 8
LEAST = 0.01  # a class below it everywhere gets no row


class Timeline:
    """Class probabilities of a video's windows.

    Args:
        spans: `(start, end)` of the windows, seconds, by start.
        probabilities: `float (W, num_classes)`.

    Attributes:
        edges: `float (S + 1,)`, seconds where the set of windows changes.
        segments: `float (S, num_classes)`, between two edges the mean of the windows there.
        mean: `float (num_classes,)`, of all windows.
    """

    def __init__(self, spans: Sequence[tuple[float, float]], probabilities: np.ndarray) -> None:
        self.spans = list(spans)
        self.probabilities = np.asarray(probabilities, dtype=np.float64)
        self.mean = self.probabilities.mean(axis=0)
        self.edges = np.unique(np.asarray(self.spans, dtype=np.float64))
        middles = (self.edges[1:] + self.edges[:-1]) / 2
        self.segments = np.stack([self.at(moment) for moment in middles])

    def at(self, seconds: float) -> np.ndarray:
        """The mean of the windows that hold a moment, `(num_classes,)`; of the nearest one where none does."""
        inside = [row for row, (start, end) in enumerate(self.spans) if start <= seconds < end]
        if not inside:
            inside = [int(np.argmin([max(start - seconds, seconds - end) for start, end in self.spans]))]
        return self.probabilities[inside].mean(axis=0)


def plot_timeline(
    timeline: Timeline, class_names: Sequence[str] | None, png: str | Path, *, title: str = ""
) -> None:
    """The classes that lead anywhere in the video, a row each, darker the more probable.

    Args:
        timeline: the scores.
        class_names: by class index; None numbers them.
        png: the file to write.
        title: above the picture.
    """
    peaks = timeline.segments.max(axis=0)
    rows = top_classes(peaks, min(NUM_ROWS, len(peaks)))
    rows = [row for row in rows if peaks[row] >= LEAST] or rows[:1]
    figure = _figure(10, 1.3 + 0.32 * len(rows))
    axes = figure.subplots()
    names = [class_name(class_names, row) for row in rows]
    mesh = axes.pcolormesh(
        timeline.edges, np.arange(len(rows) + 1), timeline.segments[:, rows].T, cmap="Blues", vmin=0, vmax=1
    )
    axes.set_yticks(
        np.arange(len(rows)) + 0.5, [n if len(n) <= 40 else n[:39] + "…" for n in names], fontsize=9
    )
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    # The leader of a segment has its number in it, where there is room for one.
    room = (timeline.edges[-1] - timeline.edges[0]) / 28
    for start, end, scores in zip(
        timeline.edges, timeline.edges[1:], timeline.segments[:, rows], strict=False
    ):
        if end - start >= room:
            best = int(scores.argmax())
            colour = "white" if scores[best] > 0.5 else "black"
            place = ((start + end) / 2, best + 0.5)
            axes.text(*place, f"{scores[best]:.0%}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(mesh, ax=axes, pad=0.01, format=lambda value, _: f"{value:.0%}")
    with replacing(png) as temporary:
        figure.savefig(temporary, bbox_inches="tight", pad_inches=0.1)
