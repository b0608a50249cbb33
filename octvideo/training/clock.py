"""How long a training step takes, and how much of it is spent waiting for data."""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

NUM_WAITS, SLOW_DATA_SHARE = 50, 0.3  # steps looked at, and the share that is worth a warning


class StepClock(Callback):
    """Logs clips a second, the seconds of a step and of its wait for data; warns once where data is the bottleneck."""

    def __init__(self) -> None:
        self._batch_end_seconds: float | None = None
        self._data_seconds = 0.0
        self._waits: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch_end_seconds = None  # what lies between two epochs is not a step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch_end_seconds = None  # nor is a validation in the middle of an epoch

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self._data_seconds = 0.0 if self._batch_end_seconds is None else now - self._batch_end_seconds

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if self._batch_end_seconds is not None:
            step_seconds = now - self._batch_end_seconds
            clips = len(batch["label"]) * trainer.world_size
            for name, value, is_shown in (
                ("train/data_seconds", self._data_seconds, False),
                ("train/step_seconds", step_seconds, False),
                ("clips/s", clips / step_seconds, True),
                ("train/data_share", self._data_seconds / step_seconds, True),
            ):
                # A tensor of the host's: Lightning would put a number onto the device, and wait for it.
                pl_module.log(name, torch.tensor(value), prog_bar=is_shown)
            self._warn_of_slow_data(self._data_seconds / step_seconds)
        self._batch_end_seconds = now

    def _warn_of_slow_data(self, share: float) -> None:
        """Once a training, when the first `NUM_WAITS` steps have spent much of their time waiting."""
        if len(self._waits) >= NUM_WAITS:
            return
        self._waits.append(share)
        mean = sum(self._waits) / len(self._waits)
        if len(self._waits) == NUM_WAITS and mean > SLOW_DATA_SHARE:
            rank_zero_warn(
                f"training waits for data {mean:.0%} of the time; more decoding processes (data.num_workers), "
                "videos resized to a short side of 256 to 320 pixels, or a faster disk would help"
            )
