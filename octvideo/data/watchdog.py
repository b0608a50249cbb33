"""Kills decoding processes that hang, and names their video.

A decoder that hangs in native code may hold Python's lock, and then nothing in its process can run. So each worker
notes what it decodes in memory that it shares with the training process, which looks at it from a thread.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch.utils.data import get_worker_info

_log = logging.getLogger(__name__)

MAX_WORKERS = 256
LOOK_SECONDS = 1.0

# What was killed in this process, in words; the loader's own error only has the worker's number.
killed: list[str] = []


class Watchdog:
    """The notes of the workers of one dataset.

    Args:
        seconds: a video that takes longer hangs.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # A row a worker: process, video + 1 (0 is none), since when. A tensor, since those can be sent to workers.
        self.notes = torch.zeros(MAX_WORKERS, 3, dtype=torch.float64).share_memory_()

    @contextmanager
    def busy(self, video: int) -> Iterator[None]:
        """In a worker, around the decoding of a video. Elsewhere nothing is noted."""
        worker = get_worker_info()
        if worker is None or worker.id >= MAX_WORKERS:
            yield
            return
        note = self.notes[worker.id]
        note[0], note[2] = os.getpid(), time.monotonic()  # the same clock for all processes of a machine
        note[1] = video + 1  # last: what is seen is whole
        try:
            yield
        finally:
            note[1] = 0

    @contextmanager
    def watching(self, paths: tuple[str, ...]) -> Iterator[None]:
        """In the training process, while it reads from the workers."""
        self.notes.zero_()
        done = threading.Event()

        def watch() -> None:
            while not done.wait(min(LOOK_SECONDS, self.seconds / 4)):
                now = time.monotonic()
                for note in self.notes:
                    pid, video, since = note.tolist()
                    if video and now - since > self.seconds:
                        self._kill(int(pid), paths[int(video) - 1])
                        note[1] = 0

        thread = threading.Thread(target=watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()

    def _kill(self, pid: int, path: str) -> None:
        text = f"{path}: not decoded within {self.seconds:g} seconds; its worker process {pid} is killed"
        killed.append(text)
        _log.error("%s", text)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
