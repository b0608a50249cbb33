"""A linear classifier on frozen features: ridge regression to the classes, in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.people.footage import Split

# In units of the number of features, which is the mean of what it is added to; chosen before anything was measured.
STRENGTH, OTHERS = 1.0, (0.1, 10.0)


def ridge(train: np.ndarray, labels: np.ndarray, strength: float = STRENGTH) -> tuple[np.ndarray, np.ndarray]:
    """Weight `(F, C)` and bias `(C,)`, learnt from `train (N, F)`, standardised, with `labels (N,)`."""
    train = train.astype(np.float64)
    mean, spread = train.mean(0), train.std(0)
    spread[spread < 1e-6] = 1
    scaled = (train - mean) / spread
    targets = np.eye(labels.max() + 1)[labels]
    centre = targets.mean(0)
    penalty = strength * train.shape[1] * np.eye(len(train))  # fewer videos than features
    weight = scaled.T @ np.linalg.solve(scaled @ scaled.T + penalty, targets - centre) / spread[:, None]
    return weight, centre - mean @ weight


def accuracies(
    learnt: np.ndarray,
    shown: np.ndarray,
    labels: np.ndarray,
    splits: Sequence[Split],
    strength: float = STRENGTH,
) -> tuple[float, list[float]]:
    """Share of all tested videos that are right, and of each split's.

    Args:
        learnt: features of every video that are learnt from where a split trains on it.
        shown: features of every video that are classified where a split tests it.
    """
    scores = []
    for split in splits:
        train, test = list(split.train), list(split.test)
        weight, bias = ridge(learnt[train], labels[train], strength)
        scores.append(shown[test] @ weight + bias)
    return share_right(scores, labels, splits)


def share_right(
    scores: Sequence[np.ndarray], labels: np.ndarray, splits: Sequence[Split]
) -> tuple[float, list[float]]:
    """The same of scores `(videos, C)` of each split's tested videos."""
    right = [of.argmax(1) == labels[list(split.test)] for of, split in zip(scores, splits, strict=True)]
    return float(np.concatenate(right).mean()), [float(part.mean()) for part in right]
