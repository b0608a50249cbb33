"""How far a run is: a bar on a terminal, plain lines in a log, nothing where nothing is wanted."""

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

_LINES_A_PASS = 10  # of a test or a prediction, and of a training's epoch where no interval is given


def with_progress(settings: dict[str, Any], callbacks: list[Callback], quiet: bool) -> list[Callback]:
    """A trainer's callbacks, with what shows its progress here where the settings have no other and want one.

    Args:
        settings: the trainer's; its bar is switched on where the run is to be quiet, for one that shows nothing.
        callbacks: those besides the settings'.
        quiet: whether nothing is to be shown.
    """
    if quiet:
        settings["enable_progress_bar"] = True
        return [*callbacks, Silence()]
    given = settings.get("callbacks") or []
    given = given if isinstance(given, list) else [given]
    unwanted = settings.get("enable_progress_bar") is False or settings.get("barebones")
    if unwanted or any(isinstance(callback, ProgressBar) for callback in given):
        return callbacks
    return [*callbacks, Bar() if sys.stdout.isatty() else Lines()]


class WithLoss(ProgressBar):
    """Shows a training's loss where Lightning does not, since it would wait for a GPU in every step."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        loss = trainer.callback_metrics.get("train/loss") if trainer.training else None
        return metrics if loss is None or "train/loss" in metrics else {"train/loss": float(loss), **metrics}


class Bar(WithLoss, RichProgressBar):
    """Lightning's bar, which counts epochs from 1: the last one of 14 is 14/14.

    On a GPU its numbers are those of every `log_every_n_steps` steps: looking at one waits until the GPU has it.
    """

    _shown: dict[str, Any] | None = None

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        waits = trainer.training and pl_module.device.type != "cpu"
        every = getattr(trainer, "log_every_n_steps", 0)  # absent from the type hints
        if not waits or (every and trainer.global_step % every == 0):
            self._shown = super().get_metrics(trainer, pl_module)
        return self._shown or {}

    def _get_train_description(self, current_epoch: int) -> str:
        return _epoch(self.trainer, current_epoch).ljust(len(self.validation_description))


class Lines(WithLoss):
    """A line every `log_every_n_steps` steps and every epoch, for files and schedulers' logs; shown by one process."""

    is_enabled = True

    def __init__(self) -> None:
        super().__init__()
        self._epoch_start_seconds = 0.0

    def disable(self) -> None:
        self.is_enabled = False

    def enable(self) -> None:
        self.is_enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self.is_enabled:
            print(*args, **kwargs, flush=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_start_seconds = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done, every = batch_idx + 1, getattr(trainer, "log_every_n_steps", 0)  # absent from the type hints
        if every and done % every == 0:
            values = self.get_metrics(trainer, pl_module)
            self.print(_line(f"{_epoch(trainer)}, step {_of(done, trainer.num_training_batches)}", values))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = time.monotonic() - self._epoch_start_seconds
        values = {name: v for name, v in trainer.callback_metrics.items() if name.startswith("val/")}
        self.print(_line(f"{_epoch(trainer)} done in {seconds:.0f} s", values))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.state.fn == "validate":  # within a training, the epoch's line tells
            self._pass("validation", trainer.num_val_batches, *args)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._pass("test", trainer.num_test_batches, *args)

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._pass("prediction", trainer.num_predict_batches, *args)

    def _pass(
        self, name: str, totals: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        total = totals[dataloader_idx] if isinstance(totals, list) else totals
        done = batch_idx + 1
        if done == total or done % _interval(total) == 0:
            self.print(f"{name}: batch {_of(done, total)}")


class Silence(Lines):
    """Shows nothing, nor what the module prints through it."""

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""


class LogInterval(Callback):
    """`log_every_n_steps` follows the epoch's length: ten times an epoch where it was not given, once at least.

    Args:
        given: what was asked for; None where nothing was.
    """

    def __init__(self, given: int | None) -> None:
        self._given = given

    def on_train_start(self, trainer: Any, pl_module: LightningModule) -> None:
        steps = trainer.num_training_batches
        if self._given is None:
            trainer.log_every_n_steps = min(trainer.log_every_n_steps, _interval(steps))
        elif self._given:
            trainer.log_every_n_steps = max(1, int(min(self._given, steps)))


def _interval(total: float) -> int:
    return 50 if total == float("inf") else max(1, int(total) // _LINES_A_PASS)


def _of(done: int, total: float) -> str:
    return str(done) if total == float("inf") else f"{done}/{int(total)}"


def _epoch(trainer: Trainer, number: int | None = None) -> str:
    number = trainer.current_epoch if number is None else number
    limit = trainer.max_epochs
    return f"Epoch {number + 1}" + (f"/{limit}" if limit not in (None, -1) else "")


def _line(start: str, values: Any) -> str:
    told = ", ".join(f"{name} {float(value):.4g}" for name, value in values.items() if name != "v_num")
    return f"{start}: {told}" if told else start
