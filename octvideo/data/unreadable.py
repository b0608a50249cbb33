"""Unreadable training videos: counted by epoch, each named once in the log and in a file."""

import logging
from collections.abc import Sequence
from pathlib import Path

from octvideo.text import shown

_log = logging.getLogger(__name__)


class Unreadable:
    """The record of one process.

    Attributes:
        epoch: the epoch of the counts.
        num_replaced: clips of the epoch taken from another video.
        this_epoch: what was wrong, by number of the video.
    """

    def __init__(self) -> None:
        self.epoch = -1
        self.num_replaced = 0
        self.this_epoch: dict[int, str] = {}
        self._named: set[int] = set()

    def add(self, replaced: Sequence[tuple[int, str]], epoch: int, file: Path | None) -> None:
        """Adds (video, what was wrong) pairs; `file` gets a line for each video that is new."""
        if epoch != self.epoch:
            self.epoch, self.num_replaced, self.this_epoch = epoch, 0, {}
        self.num_replaced += len(replaced)
        for video, error in replaced:
            self.this_epoch[video] = error
            if video not in self._named:
                self._named.add(video)
                _log.warning("unreadable training video, replaced by another: %s", error)
                if file is not None:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with file.open("a", encoding="utf-8") as lines:
                        lines.write(f"{shown(error)}\n")
