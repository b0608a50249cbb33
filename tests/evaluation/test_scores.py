"""Per-video scores and their numbers, against plain loops."""

import json
import math

import numpy as np
import pytest
import torch

from octvideo.evaluation.metrics import (
    calibration_error,
    class_accuracy,
    confusion_matrix,
    mean_class_accuracy,
    most_confused,
)
from octvideo.evaluation.predictions import VideoPrediction, write_predictions
from octvideo.evaluation.results import top_classes, write_results
from octvideo.evaluation.scores import ScoreCollector, VideoScores, accuracy_at, mean_over_views


def random_scores(num_videos: int = 40, num_classes: int = 7, seed: int = 0) -> VideoScores:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_videos, num_classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = rng.integers(0, num_classes, num_videos)
    return VideoScores(np.arange(num_videos), labels, probabilities, [], 3)


def test_mean_over_views_is_the_mean_of_the_softmax() -> None:
    logits = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32) * 4
    expected = np.zeros(5)
    for view in logits:
        exponentials = [math.exp(value) for value in view]
        expected += np.array(exponentials) / sum(exponentials) / len(logits)
    found = mean_over_views(torch.from_numpy(logits)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    of_mean = np.exp(logits.mean(axis=0)) / np.exp(logits.mean(axis=0)).sum()
    assert np.abs(found - of_mean).max() > 0.01  # the other order gives something else


@pytest.mark.parametrize("k", [1, 2, 5, 7, 50])
def test_accuracy_by_hand(k: int) -> None:
    scores = random_scores()
    correct = 0
    for label, row in zip(scores.labels, scores.probabilities, strict=True):
        ranked = sorted(range(7), key=lambda index: -row[index])
        correct += label in ranked[:k]
    assert accuracy_at(scores, k) == correct / 40


def test_unlabelled_videos_do_not_count() -> None:
    scores = random_scores()
    labels = scores.labels.copy()
    labels[::2] = -1
    partly = VideoScores(scores.videos, labels, scores.probabilities)
    right = [scores.probabilities[i].argmax() == scores.labels[i] for i in range(1, 40, 2)]
    assert accuracy_at(partly, 1) == sum(right) / 20
    assert confusion_matrix(partly).sum() == 20
    nothing = VideoScores(scores.videos, np.full(40, -1), scores.probabilities)
    assert math.isnan(accuracy_at(nothing, 1))
    assert math.isnan(mean_class_accuracy(confusion_matrix(nothing)))
    assert math.isnan(calibration_error(nothing))


def test_confusion_and_class_accuracy_by_hand() -> None:
    scores = random_scores()
    matrix = confusion_matrix(scores)
    for label in range(7):
        for predicted in range(7):
            pairs = zip(scores.labels, scores.probabilities, strict=True)
            assert matrix[label, predicted] == sum(a == label and p.argmax() == predicted for a, p in pairs)
    shares = [matrix[i, i] / matrix[i].sum() for i in range(7)]
    np.testing.assert_allclose(class_accuracy(matrix), shares)
    assert mean_class_accuracy(matrix) == pytest.approx(sum(shares) / 7)


def test_most_confused() -> None:
    matrix = np.array([[9, 2, 0], [5, 1, 0], [0, 1, 4]])
    assert most_confused(matrix, 2) == [(1, 0, 5), (0, 1, 2)]
    assert most_confused(np.diag([1, 2])) == []


def test_calibration_error_by_hand() -> None:
    # Two bins of 0.2: confidences .9 .95 (one right) and .55 .5 (both right)
    probabilities = np.array([[0.9, 0.1], [0.05, 0.95], [0.55, 0.45], [0.5, 0.5]])
    scores = VideoScores(np.arange(4), np.array([0, 0, 0, 0]), probabilities)
    expected = 0.5 * abs(0.5 - 0.925) + 0.5 * abs(1 - 0.525)
    assert calibration_error(scores, num_bins=5) == pytest.approx(expected)


def test_collector_counts_a_video_once_and_sorts() -> None:
    collector = ScoreCollector(2)
    for video, first in ((7, 0.9), (2, 0.3), (7, 0.1)):
        collector.add(video, 1, torch.tensor([first, 1 - first]), 5)
    collector.add_errors([(4, "truncated"), (4, "truncated"), (2, "a repeat that failed")])
    scores = collector.gather()
    assert scores.videos.tolist() == [2, 7]
    np.testing.assert_allclose(scores.probabilities[:, 0], [0.3, 0.9], atol=1e-7)
    assert scores.errors == [(4, "truncated")]
    assert (scores.num_views, scores.num_listed) == (5, 3)


def test_results_are_written_whole(tmp_path) -> None:
    scores = random_scores(6, 3)
    scores = VideoScores(scores.videos, scores.labels, scores.probabilities, [(6, "no video stream")], 4)
    paths = [f"/videos/{i}.mp4" for i in range(7)]
    metrics = write_results(tmp_path, scores, paths=paths, class_names=["a", "b", "c"], extra={"name": "x"})
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["unreadable"] == [{"video": 6, "path": "/videos/6.mp4", "error": "no video stream"}]
    assert (metrics["videos_listed"], metrics["videos_scored"], metrics["name"]) == (7, 6, "x")
    rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert len(rows) == 7
    best = "abc"[scores.probabilities[0].argmax()]
    assert rows[1].startswith(f"/videos/0.mp4,{'abc'[scores.labels[0]]},{best},")
    stored = np.load(tmp_path / "scores.npz")
    np.testing.assert_allclose(stored["probabilities"], scores.probabilities, atol=1e-7)
    assert not list(tmp_path.glob("*.tmp*"))


def test_predictions_hold_every_class(tmp_path) -> None:
    whole, windows = random_scores(1, 12).probabilities[0], random_scores(2, 12).probabilities
    videos = [
        VideoPrediction("/v.mp4", whole),
        VideoPrediction("/w.mp4", windows.mean(axis=0), [(0.0, 10.0, windows[0]), (5.0, 15.0, windows[1])]),
        VideoPrediction("/x.mp4", error="/x.mp4: no such file"),
    ]
    write_predictions(tmp_path, videos, None)
    short, long, bad = json.loads((tmp_path / "predict.json").read_text())
    for scores in (short, long, *long["windows"]):
        assert sum(scores["probabilities"].values()) == pytest.approx(1)
        assert len(scores["probabilities"]) == 12
    assert [(w["start_s"], w["end_s"]) for w in long["windows"]] == [(0, 10), (5, 15)]
    assert bad == {"path": "/x.mp4", "error": "/x.mp4: no such file"}
    assert len((tmp_path / "predict.csv").read_text().splitlines()) == 1 + 5 + 3 * 5


def test_top_classes_break_ties_by_index() -> None:
    assert top_classes(np.array([0.2, 0.4, 0.2, 0.2]), 3) == [1, 0, 2]
