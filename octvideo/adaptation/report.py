"""What an adaptation brought, as a table, a picture, a page and a file of numbers."""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octvideo.adaptation.layers import FittedLayer
from octvideo.adaptation.progress import Measured
from octvideo.files import replace_file
from octvideo.pages import picture, write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#2b5c8a", "#d1701f", "#3a8f5c", "#8a8a8a"
COLUMNS = (
    "after",
    "minutes",
    "same top class",
    "rank correlation",
    "feature cosine",
    "accuracy",
    "dense accuracy",
)
NAMES = {
    "nothing": "the dense weights at once",
    "channels": "channels ordered",
    "layers": "layers fitted",
    "features": "features brought together",
    "last_stage": "last stage trained",
}
COLOURS = dict(zip(NAMES, (GREY, "#9db8cf", BLUE, ORANGE, GREEN), strict=True))
UNDONE = ": no better, undone"


def rows(measured: Sequence[Measured]) -> list[tuple[str, ...]]:
    """The cells of COLUMNS; what lies within a step is in the picture alone."""
    return [
        (
            NAMES[one.after] + UNDONE * one.is_undone,
            f"{one.seconds / 60:.1f}",
            f"{one.agreement.top1:.1%}",
            f"{one.agreement.rank:.3f}",
            f"{one.agreement.cosine:.3f}",
            *("" if share is None else f"{share:.1%}" for share in _accuracies(one)),
        )
        for one in measured
        if one.share == 1
    ]


def _accuracies(one: Measured) -> tuple[float | None, float | None]:
    return one.agreement.accuracy, one.agreement.dense_accuracy


def draw(measured: Sequence[Measured]) -> "Figure":
    """Agreement against time, and the error layer by layer before and after."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    minutes = [one.seconds / 60 for one in measured]
    for name, colour in (("top1", BLUE), ("cosine", ORANGE), ("rank", GREY)):
        values = [getattr(one.agreement, name) for one in measured]
        left.plot(minutes, values, color=colour, marker="o", label=_LABELS[name])
    left.set(xlabel="minutes", ylabel="on clips not used", ylim=(min(0, *left.get_ylim()), 1.02))
    left.legend(frameon=False)
    for one in [one for one in measured if one.share == 1]:
        right.plot(list(one.agreement.layers.values()), color=COLOURS[one.after], label=NAMES[one.after])
    # Behind norms of little scale errors are many times what the dense layer gives, and do no harm.
    right.set(
        xlabel="convolution, in the order in which they run", ylabel="error / dense variance", yscale="log"
    )
    right.set_ylim(bottom=max(right.get_ylim()[0], 1e-4))  # the first octave layer's is rounding alone
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


_LABELS = {"top1": "same top class", "cosine": "feature cosine", "rank": "rank correlation"}


def write_adaptation(
    checkpoint: Path,
    title: str,
    measured: Sequence[Measured],
    fitted: Iterable[FittedLayer],
    settings: dict[str, Any],
    errors: Sequence[str],
) -> list[Path]:
    """Writes the page and the numbers beside a checkpoint.

    Args:
        title: of the page.
        settings: what belongs to the numbers.
        errors: of videos that could not be read.

    Returns:
        The files.
    """
    drawn = io.BytesIO()
    draw(measured).savefig(drawn, format="png")
    fitted = list(fitted)
    page, numbers = checkpoint.with_suffix(".html"), checkpoint.with_suffix(".json")
    write_page(
        page,
        "adaptation.html",
        title=title,
        num_clips=measured[-1].agreement.num_clips,
        columns=COLUMNS,
        measured=rows(measured),
        picture=picture(drawn.getvalue(), "png"),
        errors=errors,
        layers=[
            (one.path, one.out, "dense weights" if one.strength is None else f"{one.strength:g}",
             f"{one.before:.3f}", f"{one.after:.3f}")
            for one in fitted
        ],
        settings=list(settings.items()),
    )  # fmt: skip
    content = {
        "settings": settings,
        "measured": [asdict(one) for one in measured],
        "fitted": [asdict(one) for one in fitted],
        "unreadable": list(errors),
    }
    replace_file(numbers, lambda stream: json.dump(content, stream, indent=1))
    return [page, numbers]
