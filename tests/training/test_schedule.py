"""Learning rates against the formulas written out here."""

import math

import numpy as np
import pytest

from octvideo.training.schedule import Schedule


def test_cosine_in_closed_form() -> None:
    # 10 steps, 4 of warm-up from 0.2; the cosine over all 10 is reached at step 4
    def half_cosine(step: int) -> float:
        return (1 + math.cos(math.pi * step / 10)) / 2

    expected = [0.2 + (half_cosine(4) - 0.2) * step / 4 for step in range(4)]
    expected += [half_cosine(step) for step in range(4, 10)]
    curve = Schedule("cosine", 10, 4, 0.2)
    np.testing.assert_allclose([curve(step) for step in range(10)], expected)
    assert Schedule("cosine", 10)(0) == 1.0
    assert Schedule("cosine", 10)(10) == pytest.approx(0)


def test_cosine_equals_the_published_one() -> None:
    # PySlowFast's Kinetics recipe in epochs: lr 0.1, 196 epochs, warm-up 34 from 0.01
    def published(epoch: float) -> float:
        def cosine(at: float) -> float:
            return 0.1 * (math.cos(math.pi * at / 196) + 1.0) * 0.5

        return epoch * (cosine(34.0) - 0.01) / 34.0 + 0.01 if epoch < 34.0 else cosine(epoch)

    steps = 50  # an epoch
    curve = Schedule("cosine", 196 * steps, 34 * steps, 0.1)
    for epoch in (0, 1.5, 33.98, 34, 100.2, 195):
        step = round(epoch * steps)
        assert 0.1 * curve(step) == pytest.approx(published(step / steps))


def test_steps() -> None:
    curve = Schedule("step", 10, 2, 0.5, (4, 8), 0.1)
    expected = [0.5, 0.75, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]
    np.testing.assert_allclose([curve(step) for step in range(10)], expected)
    assert curve.in_words(0.2) == "10 steps: warm-up of 2 from 0.1, 0.2, 0.02 from step 4, 0.002 from step 8"
