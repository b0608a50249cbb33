"""Numbers about a set of per-video scores, beyond top-k."""

import numpy as np
import torch

from octvideo.evaluation.scores import VideoScores


def confusion_matrix(scores: VideoScores) -> np.ndarray:
    """`int64 (C, C)`: rows are labels, columns the most probable class.

    Args:
        scores: of a test; videos without a label are left out.
    """
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    known = scores.labels >= 0
    return multiclass_confusion_matrix(
        torch.from_numpy(scores.probabilities[known].argmax(axis=1)),
        torch.from_numpy(scores.labels[known]),
        num_classes=scores.probabilities.shape[1],
        validate_args=False,
    ).numpy()


def class_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Top-1 of each class from a confusion matrix; NaN for classes without videos."""
    total = matrix.sum(axis=1)
    return np.where(total > 0, np.diag(matrix) / np.maximum(total, 1), np.nan)


def mean_class_accuracy(matrix: np.ndarray) -> float:
    """The mean of the classes' top-1 in a confusion matrix, over classes that have videos; NaN if none has."""
    accuracy = class_accuracy(matrix)
    return float(np.nanmean(accuracy)) if np.isfinite(accuracy).any() else float("nan")


def calibration_error(scores: VideoScores, num_bins: int = 15) -> float:
    """Expected calibration error of the top-1 probability, equal-width bins (Guo et al., arXiv 1706.04599).

    The mean over videos of |accuracy - confidence| of their bin; NaN without labelled videos. torchmetrics' is the same
    in single precision, but that it counts a confidence of exactly 1, as sure networks have, in a bin of its own.

    Args:
        scores: of a test.
        num_bins: of the confidence, over 0 to 1.
    """
    known = scores.labels >= 0
    if not known.any():
        return float("nan")
    probabilities, labels = scores.probabilities[known], scores.labels[known]
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gap = 0.0
    for one in np.unique(bins):
        inside = bins == one
        gap += abs(correct[inside].mean() - confidence[inside].mean()) * inside.mean()
    return float(gap)


def most_confused(matrix: np.ndarray, count: int = 10) -> list[tuple[int, int, int]]:
    """`(label, predicted, videos)` of the largest off-diagonal entries, most videos first.

    Args:
        matrix: `int (C, C)`, rows are labels.
        count: pairs at most; those without a video are left out.
    """
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:count]
    pairs = [(int(i // off.shape[1]), int(i % off.shape[1])) for i in order]
    return [(row, column, int(off[row, column])) for row, column in pairs if off[row, column] > 0]
