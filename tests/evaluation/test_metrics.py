"""Numbers of a test beside torchmetrics' and beside counting by hand."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from octvideo.evaluation.metrics import calibration_error, confusion_matrix
from octvideo.evaluation.scores import VideoScores


def some_scores(num_videos: int, num_classes: int, seed: int = 0) -> VideoScores:
    """Half of them right, some without a label."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(num_classes, 0.1), num_videos)
    labels = rng.integers(-1, num_classes, num_videos)
    labels = np.where(rng.random(num_videos) < 0.5, probabilities.argmax(axis=1), labels)
    return VideoScores(np.arange(num_videos), labels, probabilities)


@pytest.mark.parametrize(("num_videos", "num_classes"), [(500, 40), (30, 2), (4, 1), (0, 3)])
def test_confusions_are_counted(num_videos: int, num_classes: int) -> None:
    scores = some_scores(num_videos, num_classes)
    if num_videos:
        scores.probabilities[0] = 1 / num_classes  # a tie is the first class
    expected = np.zeros((num_classes, num_classes), dtype=np.int64)
    for label, row in zip(scores.labels, scores.probabilities, strict=True):
        if label >= 0:
            expected[label, list(row).index(max(row))] += 1
    found = confusion_matrix(scores)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_calibration_is_torchmetrics_but_for_the_surest() -> None:
    scores = some_scores(400, 10)
    known = scores.labels >= 0

    def theirs(probabilities: np.ndarray, labels: np.ndarray) -> float:
        tensors = map(torch.from_numpy, (probabilities, labels))
        return float(multiclass_calibration_error(*tensors, num_classes=probabilities.shape[1], n_bins=15))

    expected = theirs(scores.probabilities[known], scores.labels[known])
    assert calibration_error(scores) == pytest.approx(expected, abs=1e-6)
    # One bin holds 0.97 and 1: half of the sure ones right, all of the others, |0.8 - 0.985| in all.
    probabilities = np.array([[1.0, 0.0]] * 5 + [[0.97, 0.03]] * 5)
    labels = np.array([0, 0, 0, 1, 1] + [0] * 5)
    sure = VideoScores(np.arange(10), labels, probabilities)
    assert calibration_error(sure) == pytest.approx(0.185)
    assert theirs(probabilities, labels) == pytest.approx((5 * 0.4 + 5 * 0.03) / 10)
