"""Checkpoints of a run: the best, the last and the newest few, each written whole or not at all."""

import os
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from octvideo.errors import InputError, OctvideoError
from octvideo.files import replacing
from octvideo.training.stop import STEPS_A_LOOK, Stopped, StopSignals


class CheckpointWriteError(OctvideoError, OSError):
    """A checkpoint could not be written; the one before it is whole. The text is one line that names the file."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file and renames: whatever happens, the file is the old one or the new one.

    Lightning's own writes into the system's temporary folder, from where a move is a copy, which can be cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        file = Path(path).absolute()
        content = BytesIO()
        torch.save(checkpoint, content)
        try:
            with replacing(file) as temporary, temporary.open("wb") as out:
                out.write(content.getbuffer())
                out.flush()
                os.fsync(out.fileno())  # hours of work: on the disk before the older one goes
        except OSError as error:
            kept = "the previous one is whole" if file.is_file() else "there is none before it"
            raise CheckpointWriteError(
                f"{file}: {error.strerror}, the checkpoint of {len(content.getbuffer()) / 1e6:.0f} MB is not "
                f"written and {kept}; with room for it, --ckpt_path last goes on"
            ) from error


class RunCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`, by validation top-1 (mean average precision of several classes), and `last.ckpt`, from which
    `--ckpt_path last` goes on.

    `last.ckpt` is written at the end of every epoch, in between every so often, and when the training is stopped by
    Ctrl-C, SIGTERM, SIGUSR1 or SIGHUP. A checkpoint lies between two optimiser steps.

    Args:
        save_top_k: 1 keeps the best; 0 does not.
        every_minutes: `last.ckpt` is written when it is older than this; None: not for its age.
        every_n_steps: and after so many optimiser steps; None: not for these.
        keep_newest: of this many past versions of `last.ckpt` a copy stays, `step-NUMBER.ckpt`.
        dirpath: where they go, `checkpoints` in the trainer's `default_root_dir` if None.

    Raises:
        ValueError: an argument is outside its range.
    """

    def __init__(
        self,
        save_top_k: int = 1,
        every_minutes: float | None = 15.0,
        every_n_steps: int | None = None,
        keep_newest: int = 0,
        dirpath: str | None = None,
    ) -> None:
        for name, value, fits, allowed in (
            ("save_top_k", save_top_k, save_top_k in (0, 1), "0 or 1"),
            ("every_minutes", every_minutes, every_minutes is None or every_minutes > 0, "above 0, or none"),
            ("every_n_steps", every_n_steps, every_n_steps is None or every_n_steps > 0, "above 0, or none"),
            ("keep_newest", keep_newest, keep_newest >= 0, "0 or more"),
        ):
            if not fits:
                raise InputError(f"checkpoint.{name} is {value}, allowed: {allowed}")
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor="val/top1",
            mode="max",
            save_top_k=save_top_k,
            save_on_train_epoch_end=False,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
        self._every_seconds = None if every_minutes is None else 60 * every_minutes
        self._every_n_steps = every_n_steps
        self._keep_newest = keep_newest
        self._signals = StopSignals()
        self._saved_seconds = time.monotonic()
        self._saved_step = 0
        self._has_best = False

    @property
    def state_key(self) -> str:
        return "RunCheckpoint"  # how often it writes may change between two parts of a run

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.dirpath is None:
            self.dirpath = os.path.abspath(os.path.join(trainer.default_root_dir, "checkpoints"))
        self.monitor = getattr(pl_module, "monitor", self.monitor)
        super().setup(trainer, pl_module, stage)
        self._has_best = trainer.strategy.broadcast(self._best.is_file())  # as the first process sees it

    @property
    def _best(self) -> Path:
        assert self.dirpath is not None
        return Path(self.dirpath) / "best.ckpt"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up how good the best one is, where it lies here; no names of files, which would be removed later."""
        score = state_dict.get("best_model_score")
        if score is None or not self._has_best:
            return
        best = str(self._best)
        self.best_model_path = self.kth_best_model_path = best
        self.best_model_score = self.kth_value = score
        self.best_k_models = {best: score}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        num_batches = trainer.num_val_batches
        if not (sum(num_batches) if isinstance(num_batches, list) else num_batches):
            self.monitor = None  # nothing to be best at
            self.save_top_k = 0
        super().on_train_start(trainer, pl_module)
        self._saved_seconds, self._saved_step = time.monotonic(), trainer.global_step
        self._signals.listen()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        progress = trainer.fit_loop.epoch_loop.batch_progress
        if progress.is_last_batch or getattr(trainer, "fast_dev_run", False):
            return  # the end of the epoch is near, and a resumed run would skip its validation
        signum = self._signals.agreed(trainer, batch_idx)
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and (signum or self._is_due(trainer, batch_idx)):
            self.save_last_now(trainer)
        if signum and stepped:
            raise Stopped(signum, trainer.global_step)

    def _is_due(self, trainer: Trainer, batch_idx: int) -> bool:
        if self._every_n_steps and trainer.global_step - self._saved_step >= self._every_n_steps:
            return True
        if self._every_seconds is None:
            return False
        due = time.monotonic() - self._saved_seconds >= self._every_seconds
        if trainer.world_size == 1:
            return due
        # The first process's clock, since all of them take part in a checkpoint; asking it costs a wait.
        return (batch_idx + 1) % STEPS_A_LOOK == 0 and trainer.strategy.broadcast(due)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if getattr(trainer, "fast_dev_run", False):
            return
        self.save_last_now(trainer)
        if signum := self._signals.agreed(trainer, -1):
            raise Stopped(signum, trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._signals.restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._signals.restore()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # A validation may take longer than a scheduler waits; the last.ckpt from before it has to do.
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if signum := self._signals.agreed(trainer, batch_idx):
            raise Stopped(signum, self._saved_step)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        _by_all(trainer, filepath, partial(super()._save_checkpoint, trainer, filepath))

    def save_last_now(self, trainer: Trainer) -> None:
        """Writes `last.ckpt`, and forgets versions older than the newest `keep_newest`."""
        assert self.dirpath is not None
        last = Path(self.dirpath) / "last.ckpt"
        _by_all(trainer, last, partial(trainer.save_checkpoint, last, weights_only=False))
        self.last_model_path = str(last)
        self._saved_seconds, self._saved_step = time.monotonic(), trainer.global_step
        if not (self._keep_newest and trainer.is_global_zero):
            return
        # The same file under a second name: the next version replaces the first name only.
        copy = last.with_name(f"step-{trainer.global_step:08d}.ckpt")
        copy.unlink(missing_ok=True)
        copy.hardlink_to(last)
        for old in sorted(last.parent.glob("step-*.ckpt"))[: -self._keep_newest]:
            old.unlink(missing_ok=True)


def _by_all(trainer: Trainer, path: str | Path, save: Callable[[], None]) -> None:
    """Saves; where the first process, which writes, fails, all of them do, instead of waiting for it."""
    failure: CheckpointWriteError | None = None
    try:
        save()
    except CheckpointWriteError as error:
        failure = error
        trainer.strategy.barrier("Trainer.save_checkpoint")  # where the others are
    if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(failure is not None, all=False):
        failure = failure or CheckpointWriteError(f"{path}: the first process could not write it")
    if failure:
        raise failure
