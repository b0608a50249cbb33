"""Scores of a test that has not ended: appended video by video, so that a run that dies loses nothing.

One file a process and run, `partial-<fingerprint>-….bin`, of records of one length (a record cut short by the end
of the process is left out when it is read). The fingerprint says which test it is: the weights, the videos and what
happens to their pixels. Scores are kept in double precision, so a continued test gives the very same numbers.
"""

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer


class KeepScores(Callback):
    """Keeps the scores of a test or a prediction as they come, and counts in those that an interrupted one has left.

    The module is a `ScoredModule`.

    Args:
        kept: where they are kept.

    Attributes:
        earlier: what was there before, `(video, label, probabilities, views, again)` each.
    """

    def __init__(self, kept: "PartialScores") -> None:
        self.kept = kept
        self.earlier = list(kept.read())

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        columns = (outputs[name] for name in ("video", "label", "probabilities", "again"))
        for video, label, probabilities, again in zip(*columns, strict=True):
            self.kept.append(video, label, probabilities.numpy(), outputs["num_views"], again)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.add_scores(self.earlier)  # type: ignore[operator]

    on_predict_batch_end = on_test_batch_end
    on_predict_epoch_end = on_test_epoch_end


def fingerprint(weights: str | Path, settings: dict[str, Any]) -> str:
    """16 hexadecimal digits that tell one test from another.

    Args:
        weights: the checkpoint file; its content counts, not its name.
        settings: everything else that a score depends on, plain values.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    with Path(weights).open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


class PartialScores:
    """The scores that tests of one fingerprint have left in a folder.

    Args:
        folder: the run folder.
        key: the fingerprint.
        num_classes: length of a video's probabilities.
        multi_label: whether a video's label is a row of 0 and 1, as long as its probabilities.
    """

    def __init__(self, folder: str | Path, key: str, num_classes: int, *, multi_label: bool = False) -> None:
        self.folder, self.key = Path(folder), key
        label_shape = (num_classes,) if multi_label else ()
        self._record = np.dtype(
            [
                ("video", "<i8"),
                ("label", "<i8", label_shape),
                ("views", "<i8"),
                ("again", "?"),
                ("probabilities", "<f8", (num_classes,)),
            ]
        )
        self._file: Any = None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"partial-{self.key}-*.bin"))

    def read(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, int, bool]]:
        """`(video, label, probabilities, views, again)` of every video scored so far, by any process."""
        for file in self._files():
            content = file.read_bytes()
            whole = len(content) // self._record.itemsize * self._record.itemsize
            for row in np.frombuffer(content[:whole], dtype=self._record):
                label, scores = row["label"].copy(), row["probabilities"].copy()
                yield int(row["video"]), label, scores, int(row["views"]), bool(row["again"])

    def append(
        self,
        video: int,
        label: int | list[float],
        probabilities: np.ndarray,
        views: int,
        again: bool = False,
    ) -> None:
        """Keeps one video's scores; they are on their way to the disk when this returns.

        Raises:
            OSError: naming the file, where the disk is full.
        """
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"partial-{self.key}-{os.getpid()}-{time.time_ns()}.bin"
            self._file = (self.folder / name).open("ab", buffering=0)
        record = np.array((video, label, views, again, probabilities), dtype=self._record).tobytes()
        try:
            if self._file.write(record) < len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:  # a full disk's names no file
            raise OSError(error.errno, error.strerror, self._file.name) from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Deletes the files, once the results are written."""
        self.close()
        for file in self._files():
            file.unlink()
