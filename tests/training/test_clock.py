"""What is logged of a step's time, and the one warning, on a clock that the test turns."""

from types import SimpleNamespace

import pytest
import torch

from octvideo.training import clock
from octvideo.training.clock import NUM_WAITS, StepClock


@pytest.mark.parametrize("wait_seconds", [0.1, 0.6])
def test_share_of_waiting(monkeypatch, recwarn, wait_seconds: float) -> None:
    """Steps of a second each."""
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    logged: dict[str, list[float]] = {}
    module = SimpleNamespace(log=lambda name, value, **_: logged.setdefault(name, []).append(value))
    trainer, batch = SimpleNamespace(world_size=2), {"label": torch.arange(3)}
    steps = StepClock()
    steps.on_train_epoch_start(trainer, module)
    for number in range(2 * NUM_WAITS):
        now[0] += wait_seconds
        steps.on_train_batch_start(trainer, module, batch, number)
        now[0] += 1 - wait_seconds
        steps.on_train_batch_end(trainer, module, None, batch, number)
    assert logged["train/data_share"] == pytest.approx([wait_seconds] * (2 * NUM_WAITS - 1))
    assert logged["clips/s"] == pytest.approx([6.0] * (2 * NUM_WAITS - 1))
    warnings = [str(warning.message) for warning in recwarn if "waits for data" in str(warning.message)]
    if wait_seconds == 0.1:
        assert not warnings
    else:
        (warning,) = warnings
        assert "60%" in warning
        assert "data.num_workers" in warning
