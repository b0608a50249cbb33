"""Labels in a shifted order are told, and nothing else is."""

import numpy as np
import pytest

from octvideo.evaluation.relabelled import relabelled
from octvideo.evaluation.scores import VideoScores


def scores(labels: np.ndarray, found: np.ndarray, num_classes: int) -> VideoScores:
    probabilities = np.full((len(labels), num_classes), 0.1 / num_classes)
    probabilities[np.arange(len(labels)), found] += 0.9
    return VideoScores(np.arange(len(labels)), labels, probabilities)


def truth(num_classes: int = 20, videos: int = 10, wrong: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Classes of videos, and what a network that errs at times makes of them."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(num_classes), videos)
    found = np.where(rng.random(len(classes)) < wrong, rng.integers(0, num_classes, len(classes)), classes)
    return classes, found


def test_labels_that_are_one_too_high() -> None:
    classes, found = truth()
    told = relabelled(scores((classes - 1)[10:], found[10:], 20))
    assert told is not None
    assert told.top1 < 0.05 < 0.7 < told.would_be
    assert "every label n is scored as class n +1" in told.sentence(None)


def test_labels_in_any_other_order_are_named() -> None:
    classes, found = truth()
    order = np.roll(np.random.default_rng(1).permutation(20), 1)
    while (order == np.arange(20)).any():
        order = np.roll(order, 1)
    told = relabelled(scores(order[classes], found, 20))
    assert told is not None
    assert all(order[found] == label for label, found in told.classes.items())
    names = tuple(f"name {i}" for i in range(20))
    assert f"0 (name 0) is scored as {told.classes[0]} (name {told.classes[0]})" in told.sentence(names)


@pytest.mark.parametrize("videos", [1, 2, 10])
def test_a_network_that_knows_nothing_is_not_relabelled(videos: int) -> None:
    """Of one video a class some order always fits; it must not be taken for one."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(50), videos)
    assert relabelled(scores(labels, rng.integers(0, 50, len(labels)), 50)) is None


def test_good_labels_and_none() -> None:
    classes, found = truth()
    assert relabelled(scores(classes, found, 20)) is None
    assert relabelled(scores(np.full(10, -1), np.zeros(10, int), 20)) is None
