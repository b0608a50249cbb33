"""predict.json and predict.csv: the scores of videos, and of their windows."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from octvideo.evaluation.results import class_name, top_classes
from octvideo.evaluation.scores import VideoScores
from octvideo.files import replace_file
from octvideo.text import cell


@dataclass
class VideoPrediction:
    """What is known about one video.

    Attributes:
        path: its file.
        probabilities: `float (num_classes,)`, the mean of its windows; None where it can't be read.
        windows: `(start, end, probabilities)`, seconds; empty for a video that was scored as a whole.
        error: why it, or a window of it, can't be read.
    """

    path: str
    probabilities: np.ndarray | None = None
    windows: list[tuple[float, float, np.ndarray]] = field(default_factory=list)
    error: str | None = None


def join_windows(
    scores: VideoScores, paths: Sequence[str], windows: Sequence[tuple[int, float, float | None]]
) -> list[VideoPrediction]:
    """The windows' scores, by video; a video's own are the mean of its windows'.

    Args:
        scores: of the windows, `video` being the window's number.
        paths: the videos' files.
        windows: `(video, start, end)`, seconds; `end` is None for a whole video.
    """
    found = dict(zip(scores.videos.tolist(), scores.probabilities, strict=True))
    errors = dict(scores.errors)
    videos = [VideoPrediction(path) for path in paths]
    for number, (row, start, end) in enumerate(windows):
        video = videos[row]
        if number in errors:
            video.error = video.error or errors[number]
        elif number in found and end is None:
            video.probabilities = found[number]
        elif number in found:
            video.windows.append((start, float(end or 0.0), found[number]))
    for video in videos:
        if video.windows:
            video.probabilities = np.mean([probabilities for _, _, probabilities in video.windows], axis=0)
    return videos


def write_predictions(
    folder: str | Path, videos: Sequence[VideoPrediction], class_names: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Writes predict.json, every class of every video and window, and predict.csv, the most probable ones.

    A row of the CSV is a rank of a video (`start_s` and `end_s` empty) or of one of its windows.

    Returns:
        What predict.json holds.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def named(probabilities: np.ndarray) -> dict[str, float]:
        return {class_name(class_names, i): float(p) for i, p in enumerate(probabilities)}

    content: list[dict[str, Any]] = []
    for video in videos:
        entry: dict[str, Any] = {"path": video.path}
        if video.error is not None:
            entry["error"] = video.error
        if video.probabilities is not None:
            entry["probabilities"] = named(video.probabilities)
        if video.windows:
            entry["windows"] = [
                {"start_s": round(start, 3), "end_s": round(end, 3), "probabilities": named(scores)}
                for start, end, scores in video.windows
            ]
        content.append(entry)

    def table(file: TextIO) -> None:
        writer = csv.writer(file)
        writer.writerow(["path", "start_s", "end_s", "rank", "class", "probability"])
        for video in videos:
            if video.probabilities is None:
                continue
            spans = [("", "", video.probabilities)]
            spans += [(f"{start:.3f}", f"{end:.3f}", scores) for start, end, scores in video.windows]
            for start, end, scores in spans:
                for rank, index in enumerate(top_classes(scores), start=1):
                    name = class_name(class_names, index)
                    writer.writerow([cell(video.path), start, end, rank, cell(name), f"{scores[index]:.6f}"])

    replace_file(folder / "predict.json", lambda file: json.dump(content, file, indent=2))
    replace_file(folder / "predict.csv", table)
    return content
