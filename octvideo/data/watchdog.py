"""Kills decoding processes that hang, and names the video of those that hang or die.

A decoder that hangs in native code may hold Python's lock, and then nothing in its process can run. So each worker
notes what it decodes in memory that it shares with the training process, which looks at it from a thread.
"""

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

import torch
from torch.utils.data import get_worker_info

from octvideo.data.decode import VideoDecodeError
from octvideo.errors import ProcessDiedError

_log = logging.getLogger(__name__)

MAX_WORKERS = 256
LOOK_SECONDS = 1.0

# What was killed here, in words, by process; the loader's own error only has the process's number.
killed: dict[int, str] = {}
_watchdogs: WeakSet["Watchdog"] = WeakSet()

_DEATH = re.compile(r"DataLoader worker \(pid(?:\(s\))? (\d+)[^)]*\) (?:is killed by signal: ([^.]*)|exited)")


def death_of_worker(error: BaseException) -> ProcessDiedError | None:
    """What is known about the worker process whose end torch reports in an exception; None for other exceptions.

    torch raises it in a signal's handler, wherever the main process is, and again where a batch is waited for.
    """
    found = [match for one in (error, error.__cause__) if (match := _DEATH.search(str(one)))]
    if not isinstance(error, RuntimeError) or not found:
        return None
    pid = int(found[-1][1])
    if pid in killed:
        return ProcessDiedError(killed[pid])
    how = f"was ended by a signal ({found[-1][2]})" if found[-1][2] else "ended by itself"
    if found[-1][2] == "Killed":
        how += ", as systems do when memory is short (then lower data.num_workers)"
    path = next((path for watchdog in _watchdogs if (path := watchdog.decodes(pid))), None)
    return ProcessDiedError(f"worker process {pid} {how}" + (f", while it decoded {path}" if path else ""))


class Watchdog:
    """The notes of the workers of one dataset.

    Args:
        seconds: a video that takes longer hangs.
        file: lists, a line each, the videos that have hung; they count as unreadable, so that the next start gets
            past them. None: not listed.
    """

    def __init__(self, seconds: float, file: Path | None = None) -> None:
        self.seconds = seconds
        self.file = file
        listed = file.read_text(encoding="utf-8", errors="surrogateescape") if file and file.is_file() else ""
        self.hung = frozenset(listed.splitlines())
        # A row a worker: process, video + 1 (0 is none), since when. A tensor, since those can be sent to workers.
        self.notes = torch.zeros(MAX_WORKERS, 3, dtype=torch.float64).share_memory_()
        self.paths: tuple[str, ...] = ()

    def decodes(self, pid: int) -> str | None:
        """What that worker decodes now, or did when it died."""
        for process, video, _ in self.notes.tolist():
            if process == pid and 0 < video <= len(self.paths):
                return self.paths[int(video) - 1]
        return None

    @contextmanager
    def busy(self, video: int, path: str) -> Iterator[None]:
        """Around the decoding of a video. Outside a worker, which can be killed alone, a hanging one is only named.

        Raises:
            VideoDecodeError: it has hung before.
        """
        if path in self.hung:
            raise VideoDecodeError(path, f"has hung its decoder before; {self.file} lists it")
        worker = get_worker_info()
        if worker is None or worker.id >= MAX_WORKERS:
            text = "%s: not decoded within %g seconds"
            timer = threading.Timer(self.seconds, _log.error, (text, path, self.seconds))
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
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
        self.paths = paths
        _watchdogs.add(self)
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
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8", errors="surrogateescape") as lines:
                lines.write(f"{path}\n")
            text += f"; the next start passes it over ({self.file})"
        killed[pid] = text
        _log.error("%s", text)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
