"""The run folder: what `octvideo fit` leaves there while it runs.

config.yaml  metrics.csv  tensorboard/  checkpoints/best.ckpt  checkpoints/last.ckpt  .lock (claim.py)
"""

import csv
import time
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from octvideo.files import replace_file


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

        def write(file: TextIO) -> None:
            writer = csv.DictWriter(file, [*first, *sorted(names.difference(first))])
            writer.writeheader()
            writer.writerows(self.rows)

        replace_file(self.file, write)
        self._flushed_seconds = time.monotonic()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


def tensorboard(folder: str | Path) -> list[Logger]:
    """The logger for TensorBoard, into `FOLDER/tensorboard`; none where its package is not installed."""
    if not (find_spec("tensorboard") or find_spec("tensorboardX")):
        return []
    from lightning.pytorch.loggers import TensorBoardLogger

    return [TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)]
