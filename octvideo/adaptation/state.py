"""A file that an adaptation goes on from after it was stopped."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from octvideo.errors import InputError
from octvideo.files import replacing
from octvideo.models.checkpoints import read_checkpoint

EVERY_SECONDS = 30.0


class State:
    """What was reached, in a file that is replaced as a whole.

    Args:
        path: the file; None keeps nothing.
        made_of: the settings, which must be the file's.

    Attributes:
        content: what `write` was given last, by this process or by one before it; empty at the start.

    Raises:
        InputError: the file is of other settings.
        CheckpointError: it is no such file.
    """

    def __init__(self, path: str | Path | None, made_of: Mapping[str, Any]) -> None:
        self._file = None if path is None else Path(path).expanduser().absolute()
        self._made_of = dict(made_of)
        self._written_seconds = time.monotonic()
        self.content: dict[str, Any] = {}
        if self._file is not None and self._file.is_file():
            found = read_checkpoint(self._file)
            theirs = found.get("made_of")
            for name, value in self._made_of.items():
                if not isinstance(theirs, Mapping) or theirs.get(name) != value:
                    was = theirs.get(name) if isinstance(theirs, Mapping) else "unknown"
                    raise InputError(
                        f"{self._file} is of another adaptation, whose {name} is {was}, here it is {value}: "
                        "remove it to start anew"
                    )
            self.content = found["content"]

    @property
    def is_due(self) -> bool:
        """Whether it is time to write."""
        return self._file is not None and time.monotonic() - self._written_seconds >= EVERY_SECONDS

    def write(self, content: dict[str, Any]) -> None:
        """Raises OSError where the disk is full; the file before is whole then."""
        if self._file is None:
            return
        with replacing(self._file) as temporary:
            torch.save({"made_of": self._made_of, "content": content}, temporary)
        self._written_seconds = time.monotonic()

    def remove(self) -> None:
        """At the end, when the result is written."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
