"""A linear classifier on frozen features: ridge regression to the classes, in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.people.footage import Split

# In units of the number of features, which is the mean of what it is added to; chosen before anything was measured.
STRENGTH, OTHERS = 1.0, (0.1, 10.0)


def predict(train: np.ndarray, labels: np.ndarray, test: np.ndarray, strength: float) -> np.ndarray:
    """Classes of `test (M, F)`, learnt from `train (N, F)` with `labels (N,)`; features are standardised by `train`."""
    train, test = train.astype(np.float64), test.astype(np.float64)
    mean, spread = train.mean(0), train.std(0)
    spread[spread < 1e-6] = 1
    train, test = (train - mean) / spread, (test - mean) / spread
    targets = np.eye(labels.max() + 1)[labels]
    centre = targets.mean(0)
    products = train @ train.T  # fewer videos than features
    penalty = strength * train.shape[1] * np.eye(len(train))
    return (test @ train.T @ np.linalg.solve(products + penalty, targets - centre) + centre).argmax(1)


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
    right = []
    for split in splits:
        train, test = list(split.train), list(split.test)
        found = predict(learnt[train], labels[train], shown[test], strength)
        right.append(found == labels[test])
    return float(np.concatenate(right).mean()), [float(part.mean()) for part in right]
