"""report.html: the results of a test as one page that needs no network and no other file."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from octvideo.evaluation.metrics import class_accuracy, confusion_matrix, most_confused
from octvideo.evaluation.results import class_name, error_line, top_classes
from octvideo.evaluation.scores import VideoScores
from octvideo.pages import picture, write_page

NUM_PAIRS = 20
NUM_MISTAKES = 24
STRIP_FRAMES = 6
STRIP_HEIGHT = 90  # pixels

ReadFrames = Callable[[str, int], np.ndarray]


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
    known = bool(matrix.sum())
    beside = [("Training", "curves.png"), *([("Confusion", "confusion.png")] if known else [])]
    write_page(
        file,
        "test.html",
        title=f"{metrics.get('name', 'model')}, alpha {metrics.get('alpha', 0):g}",
        cards=_cards(metrics),
        quick=metrics["num_views"] == 1,
        errors=[error_line(video["path"], video["error"]) for video in metrics.get("unreadable") or []],
        pictures=[
            (name, picture(file.with_name(png).read_bytes(), "png"))
            for name, png in beside
            if file.with_name(png).is_file()
        ],
        confused=list(_confused(matrix, class_names)) if known else [],
        classes=list(_classes(matrix, class_names)) if known else [],
        mistakes=list(_mistakes(scores, paths, class_names, read_frames)) if known else [],
        recipe=_recipe(metrics),
    )


def _cards(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """The numbers that people look for first, by name."""

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
    if cascade := metrics.get("cascade"):
        again = f"{cascade['scored_again']} of {metrics['videos_scored']}"
        cards.append(
            (f"scored again, below {cascade['confidence']:g} at alpha {cascade['first_alpha']:g}", again)
        )
    if "gflops" in metrics:
        is_dense = metrics["gflops"] == metrics["dense_gflops"]
        dense = "" if is_dense else f" (dense {metrics['dense_gflops']:.3g})"
        cards.append(("GFLOPs a view", f"{metrics['gflops']:.3g}{dense}"))
    if "parameters" in metrics:
        cards.append(("parameters", f"{metrics['parameters'] / 1e6:.2f} M"))
    return cards


def _confused(matrix: np.ndarray, names: Sequence[str] | None) -> Iterator[tuple[str, ...]]:
    """Label, prediction, videos, share of the label's."""
    for label, predicted, count in most_confused(matrix, NUM_PAIRS):
        share = f"{count / matrix[label].sum():.0%}"
        yield class_name(names, label), class_name(names, predicted), str(count), share


def _classes(matrix: np.ndarray, names: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    for index, accuracy in enumerate(class_accuracy(matrix)):
        off = matrix[index].copy()
        off[index] = 0
        yield {
            "name": class_name(names, index),
            "videos": int(matrix[index].sum()),
            "accuracy": None if math.isnan(accuracy) else float(accuracy),
            "taken_for": class_name(names, int(off.argmax())) if off.any() else "",
        }


def _mistakes(
    scores: VideoScores, paths: Sequence[str], names: Sequence[str] | None, read_frames: ReadFrames | None
) -> Iterator[dict[str, Any]]:
    predicted = scores.probabilities.argmax(axis=1)
    wrong = np.flatnonzero((scores.labels >= 0) & (predicted != scores.labels))
    confidence = scores.probabilities[wrong].max(axis=1) if len(wrong) else np.zeros(0)
    for row in wrong[np.argsort(-confidence, kind="stable")[:NUM_MISTAKES]]:
        path, label, row_of = paths[scores.videos[row]], scores.labels[row], scores.probabilities[row]
        strip, problem = _strip(path, read_frames)
        yield {
            "strip": strip,
            "problem": problem,
            "name": Path(path).name,
            "path": path,
            "label": class_name(names, label),
            "own": f"{row_of[label]:.1%}",
            "scored": [f"{class_name(names, i)} {row_of[i]:.0%}" for i in top_classes(row_of, 3)],
        }


def _strip(path: str, read_frames: ReadFrames | None) -> tuple[str, str]:
    """Some frames of a video side by side, as a picture's address; and why there are none."""
    from PIL import Image

    if read_frames is None:
        return "", ""
    try:
        frames = read_frames(path, STRIP_FRAMES)
    except Exception as error:  # the numbers are there; a picture that is not must not lose the page
        return "", str(error)
    images = [Image.fromarray(frame) for frame in frames]
    size = (max(1, round(images[0].width * STRIP_HEIGHT / images[0].height)), STRIP_HEIGHT)
    strip = Image.new("RGB", (len(images) * (size[0] + 2), STRIP_HEIGHT))
    for index, image in enumerate(images):
        strip.paste(image.resize(size), (index * (size[0] + 2), 0))
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=80)
    return picture(buffer.getvalue(), "jpeg"), ""


def _recipe(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """What could move the numbers: the model card, versions, and the checkpoint."""
    card = {k: v for k, v in (metrics.get("model_card") or {}).items() if k != "class_names"}
    items = {"checkpoint": metrics.get("checkpoint"), **card, **(metrics.get("versions") or {})}
    items["seconds"] = metrics.get("wall_seconds")
    return [(str(key), str(value)) for key, value in items.items() if value]
