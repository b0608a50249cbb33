"""What an adaptation brought, as a table, a picture, a page and a file of numbers."""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octvideo.adaptation.adapt import Measured
from octvideo.adaptation.layers import FittedLayer
from octvideo.evaluation.report import embedded, write_page
from octvideo.files import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#2b5c8a", "#d1701f", "#8a8a8a"
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
}


def rows(measured: Sequence[Measured]) -> list[tuple[str, ...]]:
    """The cells of COLUMNS; what lies within a step is in the picture alone."""
    return [
        (
            NAMES[one.after],
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
    whole = [one for one in measured if one.share == 1]
    for one, colour in zip(whole, (GREY, "#9db8cf", BLUE, ORANGE), strict=False):
        right.plot(list(one.agreement.layers.values()), color=colour, label=NAMES[one.after])
    right.set(
        xlabel="convolution, in the order in which they run", ylabel="error / dense variance", ylim=(0, None)
    )
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
    picture = io.BytesIO()
    draw(measured).savefig(picture, format="png")
    notes = "".join(f"<li>{escape(line)}</li>" for line in errors)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>On {measured[-1].agreement.num_clips} clips that no step has seen, beside the dense network.</p>",
        _table(COLUMNS, rows(measured), left=1),
        "<h2>On the way</h2>" + embedded(picture.getvalue(), "png", "agreement against time, and error by layer"),
        f"<h2>{len(errors)} unreadable, not in the numbers</h2><ul>{notes}</ul>" if errors else "",
        "<h2>Layers</h2><p>Errors on clips that choose the strength, as a share of the dense output's variance.</p>",
        _table(
            ("convolution", "output", "strength", "before", "after"),
            [
                (one.path, one.out, "dense weights" if one.strength is None else f"{one.strength:g}",
                 f"{one.before:.3f}", f"{one.after:.3f}")
                for one in fitted
            ],
            left=2,
        ),
        "<h2>Settings</h2>" + _table(("", ""), [(key, str(value)) for key, value in settings.items()], left=2),
    ]  # fmt: skip
    page, numbers = checkpoint.with_suffix(".html"), checkpoint.with_suffix(".json")
    write_page(page, title, parts)
    content = {
        "settings": settings,
        "measured": [asdict(one) for one in measured],
        "fitted": [asdict(one) for one in fitted],
        "unreadable": list(errors),
    }
    replace_file(numbers, lambda stream: json.dump(content, stream, indent=1))
    return [page, numbers]


def _table(columns: Sequence[str], cells: Sequence[Sequence[str]], left: int) -> str:
    """A table whose first columns are text and the others numbers."""

    def row(tag: str, values: Sequence[str]) -> str:
        inside = (
            f"<{tag}{'' if i < left else ' class=n'}>{escape(value)}</{tag}>"
            for i, value in enumerate(values)
        )
        return f"<tr>{''.join(inside)}</tr>"

    body = "".join(row("td", one) for one in cells)
    return (
        f'<div class="scroll"><table><thead>{row("th", columns)}</thead><tbody>{body}</tbody></table></div>'
    )
