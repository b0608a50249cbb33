"""Per-video scores: gathered over views, batches and processes, keyed by the video's row in its manifest.

A number that is the same on one process and on many needs three things, all here: a video's views are averaged
where they were computed, videos that a distributed sampler repeats are counted once, and everything after that is
done on arrays sorted by video.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from octvideo.errors import OctvideoError


class NonFiniteScoresError(OctvideoError, ArithmeticError):
    """A video's scores are NaN or infinite; the text, one line, names it."""


class NoScoresError(OctvideoError):
    """None of the videos of an evaluation could be scored; the text, one line, says how many and why the first."""


def check_finite(scores: Tensor, path: str) -> None:
    """Stops an evaluation at scores that are no numbers: the most probable class of NaN would be class 0.

    Args:
        scores: of one video, any shape.
        path: the video.

    Raises:
        NonFiniteScoresError: NaN or infinity is among them.
    """
    if not torch.isfinite(scores).all():
        raise NonFiniteScoresError(
            f"{path}: its scores are not finite; the weights, or data.mean and data.std, hold NaN or are out of scale, "
            "or trainer.precision is too narrow for them"
        )


def mean_over_views(logits: Tensor, *, multi_label: bool = False) -> Tensor:
    """Class probabilities of one video: softmax of every view, then the mean (not the mean of the logits).

    Args:
        logits: `(V, num_classes)`, any floating type.
        multi_label: a video may be of several classes: sigmoid instead of softmax.

    Returns:
        `float64 (num_classes,)` on the CPU.

    The protocol of SlowFast (arXiv 1812.03982, section 4): "we average the softmax scores".
    """
    exact = logits.float().cpu().double()
    return (exact.sigmoid() if multi_label else exact.softmax(dim=-1)).mean(dim=0)


@dataclass(frozen=True)
class VideoScores:
    """What an evaluation found, sorted by video.

    Attributes:
        videos: `int64 (N,)`, rows of the manifest.
        labels: `int64 (N,)`, -1 where the video has none; `int64 (N, num_classes)` of 0 and 1 where a video may be of
            several classes.
        probabilities: `float64 (N, num_classes)`.
        errors: `(video, text)` of the videos that could not be scored.
        num_views: views averaged per video.
        again: `int64`, the videos that a cascade has scored a second time, at its second alpha.
    """

    videos: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    errors: list[tuple[int, str]] = field(default_factory=list)
    num_views: int = 0
    again: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def multi_label(self) -> bool:
        """Whether a video may be of several classes."""
        return self.labels.ndim == 2

    @property
    def num_listed(self) -> int:
        return len(self.videos) + len(self.errors)

    def check_any(self) -> None:
        """Raises NoScoresError if there were videos and none could be scored."""
        if self.errors and not len(self.videos):
            raise NoScoresError(
                f"none of the {self.num_listed} videos could be read, so there is no result; first {self.errors[0][1]}"
            )


class ScoreCollector:
    """Collects the videos of one process; `gather` joins all processes.

    Args:
        num_classes: of every video's probabilities.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.num_views = 0
        self._scores: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._errors: dict[int, str] = {}
        self._again: set[int] = set()

    def __len__(self) -> int:
        return len(self._scores) + len(self._errors)

    def add(
        self,
        video: int,
        label: int | Sequence[float] | np.ndarray,
        probabilities: Tensor,
        num_views: int,
        *,
        again: bool = False,
    ) -> None:
        """Keeps a video's `(num_classes,)` probabilities; a repeated video counts once.

        Args:
            label: a class number, or `(num_classes,)` of 0 and 1.
            again: whether a cascade has scored it a second time.
        """
        self.num_views = num_views
        scored = np.asarray(label, dtype=np.int64), probabilities.double().cpu().numpy()
        self._scores.setdefault(int(video), scored)
        if again:
            self._again.add(int(video))

    def add_errors(self, errors: list[tuple[int, str]]) -> None:
        for video, text in errors:
            self._errors.setdefault(int(video), str(text))

    def gather(self) -> VideoScores:
        """All processes' videos, each once, sorted by video. Every process gets the same result."""
        scores, errors, num_views = dict(self._scores), dict(self._errors), self.num_views
        again = set(self._again)
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            parts: list = [None] * dist.get_world_size()
            dist.all_gather_object(parts, (self._scores, self._errors, self.num_views, again))
            for part_scores, part_errors, part_views, part_again in parts:
                for video, score in part_scores.items():
                    scores.setdefault(video, score)
                errors.update(part_errors)
                again |= part_again
                num_views = max(num_views, part_views)
        videos = sorted(scores)
        probabilities = [scores[video][1] for video in videos]
        return VideoScores(
            videos=np.array(videos, dtype=np.int64),
            labels=np.array([scores[video][0] for video in videos], dtype=np.int64),
            probabilities=np.stack(probabilities) if videos else np.zeros((0, self.num_classes)),
            errors=sorted((video, text) for video, text in errors.items() if video not in scores),
            num_views=num_views,
            again=np.array(sorted(again), dtype=np.int64),
        )


def accuracy_at(scores: VideoScores, k: int) -> float:
    """Share of labelled videos whose label is among the k most probable classes; NaN without labelled videos.

    Of a video of several classes, one of them has to be (hit@k, arXiv 1609.08675).

    Args:
        scores: of an evaluation.
        k: capped at the number of classes.
    """
    from torchmetrics.functional.classification import multiclass_accuracy

    if scores.multi_label:
        best = np.argsort(-scores.probabilities, axis=1, kind="stable")[:, :k]
        hit = np.take_along_axis(scores.labels, best, axis=1).max(axis=1, initial=0)
        return float(hit.mean()) if len(scores.videos) else float("nan")
    known = scores.labels >= 0
    if not known.any():
        return float("nan")
    num_classes = scores.probabilities.shape[1]
    share = multiclass_accuracy(
        torch.from_numpy(scores.probabilities[known]),
        torch.from_numpy(scores.labels[known]),
        num_classes=max(num_classes, 2),  # its lower bound; only a shape here
        top_k=min(k, num_classes),
        average="micro",
        validate_args=False,
    ).item()
    # torchmetrics divides in single precision; the number of correct videos is a whole one.
    return round(share * known.sum()) / int(known.sum())


def average_precisions(scores: VideoScores) -> np.ndarray:
    """`float64 (num_classes,)`: of each class, how well its videos are ranked before all others; NaN without any.

    Args:
        scores: of videos that may be of several classes.
    """
    from torchmetrics.functional.classification import binary_average_precision

    found = np.full(scores.probabilities.shape[1], np.nan)
    for index in np.flatnonzero(scores.labels.sum(axis=0)):
        column = torch.from_numpy(scores.probabilities[:, index].copy())
        target = torch.from_numpy(scores.labels[:, index].copy())
        found[index] = binary_average_precision(column, target, validate_args=False).item()
    return found


def mean_average_precision(scores: VideoScores) -> float:
    """The mean of the average precisions of the classes that have videos; NaN where none has.

    Args:
        scores: of videos that may be of several classes.
    """
    found = average_precisions(scores) if len(scores.videos) else np.full(1, np.nan)
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")
