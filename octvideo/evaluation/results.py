"""What a test leaves in the run folder: metrics.json, predictions.csv, per_class.csv, scores.npz."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from octvideo.evaluation.metrics import (
    calibration_error,
    class_accuracy,
    confusion_matrix,
    mean_class_accuracy,
)
from octvideo.evaluation.scores import (
    VideoScores,
    accuracy_at,
    average_precisions,
    mean_average_precision,
)
from octvideo.files import replace_file, replacing
from octvideo.text import cell

NUM_TOP = 5


def class_name(names: Sequence[str] | None, index: int) -> str:
    return names[index] if names else f"class {index}"


def error_line(path: str, error: str) -> str:
    """What is wrong with a video, its path said once: most errors begin with it."""
    return error if error.startswith(path) else f"{path}: {error}"


def top_classes(probabilities: np.ndarray, count: int = NUM_TOP) -> list[int]:
    """Classes by falling probability, the lower index first among equals."""
    return np.argsort(-probabilities, kind="stable")[:count].tolist()


def summary(scores: VideoScores, paths: Sequence[str]) -> dict[str, Any]:
    """The headline numbers, as they go into metrics.json; fractions from 0 to 1, null where undefined."""
    numbers = {"top1": accuracy_at(scores, 1), "top5": accuracy_at(scores, 5)}
    if scores.multi_label:
        numbers["mean_average_precision"] = mean_average_precision(scores)
    else:
        numbers["mean_class_accuracy"] = mean_class_accuracy(confusion_matrix(scores))
        numbers["calibration_error"] = calibration_error(scores)
    return {
        **{name: None if math.isnan(value) else value for name, value in numbers.items()},
        "num_views": scores.num_views,
        "videos_listed": scores.num_listed,
        "videos_scored": len(scores.videos),
        "unreadable": [{"video": v, "path": paths[v], "error": text} for v, text in scores.errors],
    }


def write_results(
    folder: str | Path,
    scores: VideoScores,
    *,
    paths: Sequence[str],
    class_names: Sequence[str] | None,
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes the result files of a test; each is replaced as a whole.

    Args:
        folder: the run folder.
        scores: the gathered scores.
        paths: the video's path, by row of the manifest.
        class_names: by class index; None numbers them.
        extra: goes into metrics.json beside the numbers.

    Returns:
        The content of metrics.json.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {**summary(scores, paths), **(extra or {})}

    def predictions(file: TextIO) -> None:
        writer = csv.writer(file)
        count = min(NUM_TOP, scores.probabilities.shape[1])
        ranks = range(1, count + 1)
        writer.writerow(
            ["path", "label", *(f"{what}_{r}" for r in ranks for what in ("class", "probability"))]
        )
        for video, label, row in zip(scores.videos, scores.labels, scores.probabilities, strict=True):
            top = [
                x
                for c in top_classes(row, count)
                for x in (cell(class_name(class_names, c)), f"{row[c]:.6f}")
            ]
            own = np.flatnonzero(label) if scores.multi_label else [label] if label >= 0 else []
            names = "|".join(class_name(class_names, int(one)) for one in own)
            writer.writerow([cell(paths[video]), cell(names), *top])

    def per_class(file: TextIO) -> None:
        if scores.multi_label:
            column, counts, values = (
                "average_precision",
                scores.labels.sum(axis=0),
                average_precisions(scores),
            )
        else:
            matrix = confusion_matrix(scores)
            column, counts, values = "top1", matrix.sum(axis=1), class_accuracy(matrix)
        writer = csv.writer(file)
        writer.writerow(["class", "videos", column])
        for index, (count, value) in enumerate(zip(counts, values, strict=True)):
            shown = "" if math.isnan(value) else f"{value:.6f}"
            writer.writerow([cell(class_name(class_names, index)), int(count), shown])

    replace_file(folder / "metrics.json", lambda file: json.dump(metrics, file, indent=2))
    replace_file(folder / "predictions.csv", predictions)
    replace_file(folder / "per_class.csv", per_class)
    with replacing(folder / "scores.npz") as temporary:
        np.savez_compressed(
            temporary,
            videos=scores.videos,
            labels=scores.labels,
            probabilities=scores.probabilities.astype(np.float32),
            again=scores.again,
        )
    return metrics
