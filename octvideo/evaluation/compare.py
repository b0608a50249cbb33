"""Several test runs side by side, with intervals on their differences."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from octvideo.errors import InputError
from octvideo.text import from_cell


@dataclass(frozen=True)
class Run:
    """What a run folder says about its test.

    Attributes:
        folder: the run folder.
        metrics: the content of metrics.json.
        correct: whether the most probable class is the label, by the labelled video's path.
    """

    folder: Path
    metrics: dict[str, Any]
    correct: dict[str, bool]


@dataclass(frozen=True)
class Difference:
    """Top-1 of a run minus that of another, on the videos that both scored; fractions.

    Attributes:
        value: the difference.
        low: lower end of its bootstrap interval.
        high: upper end.
        num_videos: that both scored.
    """

    value: float
    low: float
    high: float
    num_videos: int


def read_run(folder: str | Path) -> Run:
    """Reads metrics.json and predictions.csv.

    Raises:
        ValueError: the folder holds no test results.
    """
    folder = Path(folder).absolute()
    files = [folder / "metrics.json", folder / "predictions.csv"]
    for file in files:
        if not file.is_file():
            raise InputError(f"{folder} holds no test results, there is no {file.name}")
    try:
        metrics = json.loads(files[0].read_text())
        with files[1].open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = [row for row in csv.DictReader(stream) if row["label"]]
            return Run(
                folder, metrics, {from_cell(row["path"]): row["label"] == row["class_1"] for row in rows}
            )
    except (json.JSONDecodeError, KeyError) as error:
        raise InputError(f"{folder} holds test results that cannot be read: {error!r}") from error


def difference(
    run: Run, base: Run, *, num_samples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Difference | None:
    """Top-1 of `run` minus `base`, with a paired bootstrap interval over videos.

    Videos are drawn with replacement, the same ones for both runs. All that counts of a draw is how often each of
    -1, 0 and +1 comes up, so that draws are multinomial and cost nothing.

    Args:
        run: one run.
        base: the other.
        num_samples: draws.
        level: probability that the interval covers.
        seed: of the draws.

    Returns:
        None if no video was scored by both.
    """
    both = [path for path in base.correct if path in run.correct]
    if not both:
        return None
    gains = np.array([int(run.correct[path]) - int(base.correct[path]) for path in both])
    shares = [np.mean(gains == value) for value in (-1, 0, 1)]
    draws = np.random.default_rng(seed).multinomial(len(both), shares, size=num_samples)
    means = (draws[:, 2] - draws[:, 0]) / len(both)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(gains.mean()), float(low), float(high), len(both))
