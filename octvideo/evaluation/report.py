"""report.html: the results of a test as one page that needs no network and no other file."""

import base64
import io
import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from octvideo.evaluation.metrics import class_accuracy, confusion_matrix, most_confused
from octvideo.evaluation.results import class_name, error_line, top_classes
from octvideo.evaluation.scores import VideoScores
from octvideo.files import replace_file

NUM_PAIRS = 20
NUM_MISTAKES = 24
STRIP_FRAMES = 6
STRIP_HEIGHT = 90  # pixels

ReadFrames = Callable[[str, int], np.ndarray]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --accent: light-dark(#2b5c8a, #8dbde8); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 68rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } th, td { padding: .25rem .8rem; text-align: left; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tr { border-bottom: 1px solid var(--line); }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid; }
th button::after { content: " ↕"; opacity: .45; } th[aria-sort] button::after { opacity: 1; }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem; }
.card b { display: block; font-size: 1.5rem; color: var(--accent); }
.scroll { max-height: 30rem; overflow: auto; } thead { position: sticky; top: 0; background: Canvas; }
input[type=search] { font: inherit; padding: .2rem .6rem; margin: 0 .6rem .6rem 0; min-width: 16rem; }
img { max-width: 100%; background: #fff; } figure { margin: 1.2rem 0; } figcaption { overflow-wrap: anywhere; }
figure img { display: block; border-radius: .3rem; } small { color: GrayText; overflow-wrap: anywhere; }
"""

# Sorts a table by the column of the button that was pressed: numbers by value, empty ones last.
_SCRIPT = """
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const column = head.cellIndex, falling = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.value;
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = head.classList.contains("n") ? x - y : x.localeCompare(y);
      return falling ? -order : order;
    });
    body.append(...rows);
  });
}
// Shows the rows of a table that hold the text in its search field, in any column.
for (const field of document.querySelectorAll("input[data-filters]")) {
  const rows = [...document.getElementById(field.dataset.filters).tBodies[0].rows];
  const count = field.nextElementSibling;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    count.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
  });
}
"""


def write_report(
    file: str | Path,
    scores: VideoScores,
    metrics: dict[str, Any],
    *,
    paths: Sequence[str],
    class_names: Sequence[str] | None,
    read_frames: ReadFrames | None = None,
) -> None:
    """Writes the page.

    Args:
        file: report.html; curves.png and confusion.png beside it are taken into the page if they are there.
        scores: the gathered scores.
        metrics: the content of metrics.json.
        paths: the video's path, by row of the manifest.
        class_names: by class index; None numbers them.
        read_frames: `(path, count)` to `uint8 (count, H, W, 3)`, frames spread over the video; an exception of its
            leaves that strip out, with its message. None leaves all out.
    """
    file = Path(file)
    # Videos of several classes are not taken for another: their numbers are the cards and per_class.csv.
    matrix = np.zeros((0, 0)) if scores.multi_label else confusion_matrix(scores)
    title = f"{metrics.get('name', 'model')}, alpha {metrics.get('alpha', 0):g}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _headline(metrics),
        _unreadable(metrics),
        _picture("Training", file.with_name("curves.png")),
    ]
    if matrix.sum():
        parts += [
            _picture("Confusion", file.with_name("confusion.png")),
            _confused(matrix, class_names),
            _classes(matrix, class_names),
            _mistakes(scores, paths, class_names, read_frames),
        ]
    parts.append(_recipe(metrics))
    write_page(file, title, parts)


def write_page(file: str | Path, title: str, parts: Sequence[str]) -> None:
    """Writes a page of some parts, which are HTML; empty ones are left out."""
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<script>{_SCRIPT}</script></body></html>\n"
    )
    replace_file(file, lambda stream: stream.write(page))


def _headline(metrics: dict[str, Any]) -> str:
    def percent(name: str) -> str:
        value = metrics.get(name)
        return "-" if value is None else f"{value:.2%}"

    cards = [
        ("top-1", percent("top1")),
        ("top-5", percent("top5")),
        *(
            (name.replace("_", " "), percent(name))
            for name in ("mean_average_precision", "mean_class_accuracy", "calibration_error")
            if name in metrics
        ),
        ("videos scored", f"{metrics['videos_scored']} of {metrics['videos_listed']}"),
        ("views a video", str(metrics["num_views"])),
    ]
    if "gflops" in metrics:
        dense = f" (dense {metrics['dense_gflops']:.3g})" if metrics.get("alpha") else ""
        cards.append(("GFLOPs a view", f"{metrics['gflops']:.3g}{dense}"))
    if "parameters" in metrics:
        cards.append(("parameters", f"{metrics['parameters'] / 1e6:.2f} M"))
    inside = "".join(f'<div class="card"><b>{escape(value)}</b>{escape(name)}</div>' for name, value in cards)
    quick = "" if metrics["num_views"] != 1 else "<p>One view a video: quick, not the published protocol.</p>"
    return f'<div class="cards">{inside}</div>{quick}'


def _unreadable(metrics: dict[str, Any]) -> str:
    videos = metrics.get("unreadable") or []
    rows = "".join(f"<li>{escape(error_line(v['path'], v['error']))}</li>" for v in videos)
    return f"<h2>{len(videos)} unreadable, not in the numbers</h2><ul>{rows}</ul>" if videos else ""


def _picture(title: str, png: Path) -> str:
    if not png.is_file():
        return ""
    return f"<h2>{title}</h2>{embedded(png.read_bytes(), 'png', title)}"


def embedded(content: bytes, kind: str, text: str) -> str:
    """A picture that is in the page itself; `text` stands for it where it cannot be seen."""
    data = base64.b64encode(content).decode()
    return f'<img alt="{escape(text, quote=True)}" src="data:image/{kind};base64,{data}">'


def _confused(matrix: np.ndarray, names: Sequence[str] | None) -> str:
    rows = "".join(
        f"<tr><td>{escape(class_name(names, label))}</td><td>{escape(class_name(names, predicted))}</td>"
        f'<td class="n">{count}</td><td class="n">{count / matrix[label].sum():.0%}</td></tr>'
        for label, predicted, count in most_confused(matrix, NUM_PAIRS)
    )
    if not rows:
        return ""
    head = '<tr><th>label</th><th>predicted</th><th class="n">videos</th><th class="n">of the label</th></tr>'
    return f"<h2>Most confused</h2><table><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _classes(matrix: np.ndarray, names: Sequence[str] | None) -> str:
    rows = []
    for index, accuracy in enumerate(class_accuracy(matrix)):
        off = matrix[index].copy()
        off[index] = 0
        worst = class_name(names, int(off.argmax())) if off.any() else ""
        known = not math.isnan(accuracy)
        cells = [
            (class_name(names, index), class_name(names, index), ""),
            (str(matrix[index].sum()), str(matrix[index].sum()), "n"),
            (f"{accuracy:.1%}" if known else "", f"{accuracy:.6f}" if known else "", "n"),
            (worst, worst, ""),
        ]
        inside = "".join(
            f'<td class="{kind}" data-value="{escape(value, quote=True)}">{escape(shown)}</td>'
            for shown, value, kind in cells
        )
        rows.append(f"<tr>{inside}</tr>")
    columns = (("class", ""), ("videos", "n"), ("top-1", "n"), ("taken for", ""))
    head = "".join(f'<th class="{kind}"><button>{name}</button></th>' for name, kind in columns)
    return (
        '<h2>Classes</h2><input type="search" placeholder="filter classes" aria-label="filter classes" '
        f'data-filters="classes"><small>{len(matrix)} of {len(matrix)}</small>'
        '<div class="scroll"><table class="sortable" id="classes">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _mistakes(
    scores: VideoScores, paths: Sequence[str], names: Sequence[str] | None, read_frames: ReadFrames | None
) -> str:
    predicted = scores.probabilities.argmax(axis=1)
    wrong = np.flatnonzero((scores.labels >= 0) & (predicted != scores.labels))
    confidence = scores.probabilities[wrong].max(axis=1) if len(wrong) else np.zeros(0)
    figures = []
    for row in wrong[np.argsort(-confidence, kind="stable")[:NUM_MISTAKES]]:
        path, label = paths[scores.videos[row]], scores.labels[row]
        top = [
            f"{escape(class_name(names, i))} {scores.probabilities[row, i]:.0%}"
            for i in top_classes(scores.probabilities[row], 3)
        ]
        own = f"{scores.probabilities[row, label]:.1%}"
        caption = f"<b>{escape(class_name(names, label))}</b> ({own}), scored as {', '.join(top)}"
        caption += f"<br><small>{escape(path)}</small>"
        figures.append(f"<figure>{_strip(path, read_frames)}<figcaption>{caption}</figcaption></figure>")
    return f"<h2>Most confident mistakes</h2>{''.join(figures)}" if figures else ""


def _strip(path: str, read_frames: ReadFrames | None) -> str:
    """Some frames of a video side by side."""
    from PIL import Image

    if read_frames is None:
        return ""
    try:
        frames = read_frames(path, STRIP_FRAMES)
    except Exception as error:  # the numbers are there; a picture that is not must not lose the page
        return f"<small>{escape(str(error))}</small>"
    images = [Image.fromarray(frame) for frame in frames]
    size = (max(1, round(images[0].width * STRIP_HEIGHT / images[0].height)), STRIP_HEIGHT)
    strip = Image.new("RGB", (len(images) * (size[0] + 2), STRIP_HEIGHT))
    for index, image in enumerate(images):
        strip.paste(image.resize(size), (index * (size[0] + 2), 0))
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=80)
    return embedded(buffer.getvalue(), "jpeg", f"frames of {Path(path).name}")


def _recipe(metrics: dict[str, Any]) -> str:
    """What could move the numbers: the model card, versions, and the checkpoint."""
    card = {k: v for k, v in (metrics.get("model_card") or {}).items() if k != "class_names"}
    items = {"checkpoint": metrics.get("checkpoint"), **card, **(metrics.get("versions") or {})}
    items["seconds"] = metrics.get("wall_seconds")
    rows = "".join(
        f"<tr><td>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>" for k, v in items.items() if v
    )
    return f"<h2>Recipe</h2><table><tbody>{rows}</tbody></table>" if rows else ""
