"""Pictures of a run: training curves and confusion matrices, drawn without a display."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from octvideo.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#2b5c8a", "#d1701f", "#8a8a8a"
MAX_NAMED_CLASSES = 40  # beyond this the names of single classes cannot be read


def _figure(width: float, height: float, dpi: int = 120):
    # The object interface: no global state, no display, safe in threads.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path: str | Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight", pad_inches=0.1)


def read_curves(metrics_csv: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """`{name: (steps, values)}` of the columns that hold numbers.

    Args:
        metrics_csv: of a run folder.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    with Path(metrics_csv).open(newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if name not in ("step", "epoch") and text:
                    points.setdefault(name, []).append((float(row["step"]), float(text)))
    return {name: (np.array(p)[:, 0], np.array(p)[:, 1]) for name, p in points.items()}


def _smooth(values: np.ndarray, span: int) -> np.ndarray:
    """Mean over a centred window that is cut at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - span // 2, 0)
    high = np.minimum(np.arange(len(values)) + span // 2 + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def plot_curves(metrics_csv: str | Path, png: str | Path) -> bool:
    """Loss, top-1 and learning rate over the steps of a training, into a file.

    Args:
        metrics_csv: of a run folder.
        png: the file to write.

    Returns:
        Whether there was anything to draw; without it no file is written.
    """
    figure = draw_curves(read_curves(metrics_csv))
    if figure is not None:
        _save(figure, png)
    return figure is not None


def draw_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> "Figure | None":
    """The figure of `plot_curves`; `curves` as `read_curves` gives them. None where there is nothing to draw."""
    loss_key = "train/loss" if "train/loss" in curves else "train/loss_step"
    panels = [
        ("loss", [(loss_key, "train", GREY), ("val/loss", "validation", ORANGE)]),
        ("top-1", [("train/top1", "train", BLUE), ("val/top1", "validation", ORANGE)]),
        ("learning rate", [("lr", "", BLUE)]),
    ]
    panels = [(title, [line for line in lines if line[0] in curves]) for title, lines in panels]
    panels = [(title, lines) for title, lines in panels if lines]
    if not panels:
        return None
    figure = _figure(4.2 * len(panels), 3.2)
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for key, label, colour in lines:
            steps, values = curves[key]
            if key == loss_key and len(values) >= 20:  # single batches are noisy: show both
                axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.5)
                smooth = _smooth(values, max(5, len(values) // 20))
                axes.plot(steps, smooth, color=BLUE, linewidth=1.6, label="train, smoothed")
                continue
            marker = "o" if len(values) <= 60 and key != "lr" else None
            axes.plot(steps, values, color=colour, linewidth=1.6, marker=marker, markersize=3, label=label)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if title == "top-1":
            axes.set_ylim(0, 1.02)
        else:
            axes.set_ylim(bottom=0)
        if any(label for _, label, _ in lines):
            axes.legend(frameon=False)
    return figure


def cluster_order(matrix: np.ndarray) -> np.ndarray:
    """An order of the classes that puts confused ones side by side, greedily: O(C^2), C classes.

    Starts from the class with the most mistakes; the next one is the one most confused with those just placed.

    Args:
        matrix: `int (C, C)`, rows are labels.
    """
    affinity = matrix + matrix.T
    affinity = affinity - np.diag(np.diag(affinity))
    affinity = affinity.astype(float)
    num_classes = len(matrix)
    order = [int(affinity.sum(axis=1).argmax())]
    left = np.ones(num_classes, dtype=bool)
    left[order[0]] = False
    pull = affinity[order[0]].copy()
    while left.any():
        following = int(np.where(left, pull, -1.0).argmax())
        order.append(following)
        left[following] = False
        pull = 0.5 * pull + affinity[following]  # the nearest neighbours count most
    return np.array(order)


def plot_confusion(matrix: np.ndarray, class_names: Sequence[str] | None, png: str | Path) -> None:
    """Draws a confusion matrix into a file.

    Args:
        matrix: `int (C, C)`, rows are labels.
        class_names: C names; None numbers them.
        png: the file to write.
    """
    _save(draw_confusion(matrix, class_names), png)


def draw_confusion(matrix: np.ndarray, class_names: Sequence[str] | None) -> "Figure":
    """A confusion matrix, rows normalised to shares of their label's videos.

    Few classes are named and their cells hold numbers; many are ordered so that confused ones lie side by side,
    and the worst pairs are listed beside the picture.

    Args:
        matrix: `int (C, C)`, rows are labels.
        class_names: C names; None numbers them.
    """
    from octvideo.evaluation.metrics import most_confused

    names = list(class_names) if class_names else [f"class {i}" for i in range(len(matrix))]
    many = len(matrix) > MAX_NAMED_CLASSES
    order = cluster_order(matrix) if many else np.arange(len(matrix))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shares = shares[np.ix_(order, order)]
    longest = max(len(name) for name in names)
    side = 8.0 if many else max(3.2, 0.42 * len(names))
    figure = _figure(
        side + (5.0 if many else 1.6 + 0.075 * longest), side + (0.8 if many else 0.9), 200 if many else 120
    )
    if many:
        axes, text_axes = figure.subplots(1, 2, width_ratios=[side, 4.6])
        text_axes.axis("off")
        pairs = most_confused(matrix, 30)
        lines = [f"{count:4d}  {names[label]} → {names[predicted]}" for label, predicted, count in pairs]
        listed = "\n".join(line if len(line) <= 58 else line[:57] + "…" for line in lines) or "no mistakes"
        text_axes.set_title("most confused: videos, label → predicted", fontsize=9, loc="left")
        text_axes.text(0, 0.99, listed, fontsize=7.5, va="top", family="DejaVu Sans", linespacing=1.5)
    else:
        axes = figure.subplots()
    # A square root, so that a few mistakes among hundreds of cells can still be seen.
    image = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xlabel("predicted" + (", confused classes side by side" if many else ""))
    axes.set_ylabel("label")
    if many:
        axes.set_xticks([])
        axes.set_yticks([])
    else:
        axes.set_xticks(
            range(len(names)),
            [names[i] for i in order],
            rotation=45,
            ha="right",
            rotation_mode="anchor",
            fontsize=8,
        )
        axes.set_yticks(range(len(names)), [names[i] for i in order], fontsize=8)
        if len(names) <= 20:
            for row, column in zip(*np.nonzero(matrix), strict=True):
                colour = "white" if shares[row, column] > 0.4 else "black"
                count = str(matrix[row, column])
                axes.text(column, row, count, ha="center", va="center", fontsize=8, color=colour)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    ticks = [0.0, 0.05, 0.25, 0.5, 1.0]
    bar.set_ticks([t**0.5 for t in ticks], labels=[f"{t:.0%}" for t in ticks])
    bar.set_label("share of the label's videos", fontsize=8)
    return figure
