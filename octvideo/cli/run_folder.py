"""The run folder: what `octvideo fit` leaves there while it runs.

config.yaml  metrics.csv  checkpoints/best.ckpt  checkpoints/last.ckpt
"""

import csv
import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class RunCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt` (by validation top-1) and `last.ckpt` under stable names.

    Without validation the last one is kept, and it is also written on Ctrl-C.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "checkpoint.monitor": "val/top1",
        "checkpoint.mode": "max",
        "checkpoint.filename": "best",
        "checkpoint.save_last": True,
        "checkpoint.enable_version_counter": False,
        "checkpoint.auto_insert_metric_name": False,
    }

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.dirpath is None:
            self.dirpath = os.path.abspath(os.path.join(trainer.default_root_dir, "checkpoints"))
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        num_batches = trainer.num_val_batches
        if not (sum(num_batches) if isinstance(num_batches, list) else num_batches):
            self.monitor = None  # nothing to be best at
            self.save_top_k = 0
        super().on_train_start(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        interrupted = isinstance(exception, KeyboardInterrupt) and trainer.global_step > 0
        if interrupted and self.save_last and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


class RunLogger(Logger):
    """`metrics.csv`: one row a logged step, columns sorted by name, `step` and `epoch` first.

    Lightning's own CSV logger deletes the file of an interrupted run when the run is resumed; this one keeps the
    rows before the step that it resumes from. The file is replaced as a whole, never half written.

    Args:
        folder: where the file goes.
        keep: whether rows of an earlier run stay, up to the first step that is logged again.
    """

    FLUSH_SECONDS = 10.0

    def __init__(self, folder: str | Path, keep: bool = False) -> None:
        super().__init__()
        self.file = Path(folder) / "metrics.csv"
        self.rows: list[dict[str, Any]] = []
        self._keep = keep
        self._started = False
        self._flushed_seconds = time.monotonic()

    @property
    def name(self) -> str:
        return "run"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.file.parent)

    @property
    def log_dir(self) -> str:
        return str(self.file.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The run's settings are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        step = len(self.rows) if step is None else step
        if not self._started:
            self._started = True
            if self._keep and self.file.is_file():
                with self.file.open(newline="") as file:
                    self.rows = [row for row in csv.DictReader(file) if int(row["step"]) < step]
        row = {name: f"{float(value):.7g}" for name, value in metrics.items()}
        self.rows.append({**row, "step": step})
        if time.monotonic() - self._flushed_seconds > self.FLUSH_SECONDS:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:
            return
        names = set().union(*self.rows)
        first = [name for name in ("epoch", "step") if name in names]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".csv.tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*first, *sorted(names.difference(first))])
            writer.writeheader()
            writer.writerows(self.rows)
        temporary.replace(self.file)
        self._flushed_seconds = time.monotonic()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()
