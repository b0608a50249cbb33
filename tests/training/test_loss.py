"""The classifier's loss against scalar sums."""

import math

import numpy as np
import pytest
import torch

from octvideo.training.loss import ClassLoss, balanced_weights, hits

LOGITS = torch.tensor([[1.0, -0.5, 0.25], [0.1, 2.0, -1.0]])


def test_several_classes_a_clip() -> None:
    label = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    terms = [
        -math.log(1 / (1 + math.exp(-x))) if y else -math.log(1 - 1 / (1 + math.exp(-x)))
        for x, y in zip(LOGITS.flatten().tolist(), label.flatten().tolist(), strict=True)
    ]
    loss = ClassLoss(multi_label=True)
    assert float(loss(LOGITS, label)) == pytest.approx(sum(terms) / 6)
    loss.weight = torch.tensor([1.0, 2.0, 0.0])
    weighted = [term * weight for term, weight in zip(terms, [1, 2, 0] * 2, strict=True)]
    assert float(loss(LOGITS, label)) == pytest.approx(sum(weighted) / 6)


def test_weights_of_classes() -> None:
    loss = ClassLoss()
    loss.weight = torch.tensor([1.0, 3.0, 1.0])
    each = [
        -math.log(math.exp(row[k]) / sum(map(math.exp, row)))
        for row, k in zip(LOGITS.tolist(), (0, 1), strict=True)
    ]
    assert float(loss(LOGITS, torch.tensor([0, 1]))) == pytest.approx((each[0] + 3 * each[1]) / 4)
    assert not loss.state_dict()  # a checkpoint's keys are the network's alone


def test_balanced_weights_are_scikit_learns() -> None:
    # sklearn.utils.class_weight.compute_class_weight("balanced", classes=[0, 1, 2], y=[0] * 6 + [1] * 3 + [2])
    np.testing.assert_allclose(balanced_weights(np.array([6, 3, 1])), [10 / 18, 10 / 9, 10 / 3], rtol=1e-6)
    assert balanced_weights(np.array([6, 0]))[1] == 3


def test_hits() -> None:
    assert hits(LOGITS, torch.tensor([0, 2]), multi_label=False).tolist() == [True, False]
    assert hits(LOGITS, torch.tensor([[0.0, 1, 1], [0, 1, 1]]), multi_label=True).tolist() == [False, True]
    assert hits(LOGITS, torch.tensor([[0.7, 0.3, 0], [0.6, 0.4, 0]]), multi_label=False).tolist() == [
        True,
        False,
    ]
