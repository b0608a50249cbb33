"""Many files through killable processes: a file that hangs or crashes a decoder costs that file alone.

joblib spreads the files, over threads here or over a Dask cluster. Each thread keeps one `data_prep._worker`
process and kills it when a file takes longer than its time limit. Results go to a journal, one line of JSON a
file, as they come; a run that is started again does what is missing, what hung or crashed, and what has
changed on disk since.
"""

import argparse
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from octvideo.errors import MissingPackageError, ProcessDiedError
from octvideo.limits import Limits, check_numbers

_ROOT = Path(__file__).parents[__package__.count(".") + 1]  # where this package is found
_START_SECONDS = 180.0
_here = threading.local()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every module that works through many files."""
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="files at a time (default: CPU cores)"
    )
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds a file (default: 120)")
    parser.add_argument("--backend", choices=["threads", "dask"], default="threads", help="where jobs run")
    parser.add_argument("--scheduler", help="address of the Dask scheduler; none: a local cluster")


def chosen(options: argparse.Namespace) -> dict[str, Any]:
    """What `add_arguments` has asked for, as arguments of `run`."""
    return {name: getattr(options, name) for name in ("jobs", "time_limit", "backend", "scheduler")}


def run(
    job: str,
    items: Mapping[str, dict[str, Any]],
    journal: Path,
    *,
    jobs: int = 1,
    time_limit: float = 120.0,
    backend: str = "threads",
    scheduler: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Does a job for many files.

    Args:
        job: its name in `data_prep._worker`.
        items: arguments by file; the key is the absolute path of the file that the job reads.
        journal: file of the results so far; results of files that are unchanged since are taken from it.
        jobs: files at a time.
        time_limit: seconds a file.
        backend: "threads", or "dask" for a cluster, whose machines need this checkout and the files.
        scheduler: address of the Dask scheduler.

    Returns:
        Results by file, in the order of `items`: `{"status": "ok" | "failed" | …, "reason": …, …}`.

    Raises:
        InputError, MissingPackageError: of the arguments.
        RuntimeError: the job has a programming error; after the other files, with the trace of the first.
    """
    limits = {"jobs": Limits(1, whole=True), "time_limit": Limits(0, above=True)}
    check_numbers({"jobs": jobs, "time_limit": time_limit}, limits=limits)
    done = {
        path: entry["result"]
        for path, entry in _read_journal(journal).items()
        if path in items
        and entry["asked"] == _asked(job, path, items[path])
        and entry["result"]["status"] != "failed"
    }
    todo = [path for path in items if path not in done]
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
    times = (TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn())
    journal.parent.mkdir(parents=True, exist_ok=True)
    with (
        Progress(*columns, *times) as progress,
        journal.open("a", encoding="utf-8", errors="surrogateescape") as lines,
    ):
        bar = progress.add_task(job, total=len(items), completed=len(done), rate="")
        began = time.monotonic()
        results = _spread(job, [(path, items[path]) for path in todo], jobs, time_limit, backend, scheduler)
        for count, (path, result) in enumerate(results, 1):
            asked = _asked(job, path, items[path])
            # One write a line: a run that is killed leaves whole lines, but for the last.
            lines.write(
                json.dumps({"file": path, "asked": asked, "result": result}, ensure_ascii=False) + "\n"
            )
            lines.flush()
            done[path] = result
            progress.update(bar, advance=1, rate=f"{count / (time.monotonic() - began):.1f} files/s")
    for path in todo:
        if trace := done[path].get("trace"):
            raise RuntimeError(f"{job} of {path}:\n{trace}")
    return {path: done[path] for path in items}


def _spread(
    job: str,
    items: Sequence[tuple[str, dict[str, Any]]],
    jobs: int,
    limit: float,
    backend: str,
    scheduler: str | None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    if not items:
        return
    if backend == "threads":
        config: dict[str, Any] = {"backend": "threading", "n_jobs": jobs}
        client = None
    else:
        try:
            from distributed import Client, LocalCluster
        except ImportError:
            raise MissingPackageError("backend is 'dask', which needs `pip install octvideo[dask]`") from None
        # Processes that may have children of their own: one thread each, so that a file has one worker.
        cluster = None if scheduler else LocalCluster(n_workers=jobs, threads_per_worker=1, processes=False)
        client = Client(scheduler or cluster)
        config = {"backend": "dask", "n_jobs": -1}
    try:
        with parallel_config(**config):
            yield from Parallel(return_as="generator_unordered", batch_size=1)(
                delayed(_one)(job, path, arguments, limit) for path, arguments in items
            )
    finally:
        if client is not None:
            client.close()


def _asked(job: str, path: str, arguments: dict[str, Any]) -> list[Any]:
    """What a result depends on: the job, its arguments, and the file's size and time."""
    try:
        status = os.stat(path)
        file: list[int] | None = [status.st_size, status.st_mtime_ns]
    except OSError:
        file = None
    return [job, arguments, file]


def _read_journal(journal: Path) -> dict[str, dict[str, Any]]:
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    return {entry["file"]: entry for entry in map(parse, lines) if entry}


def read_results(journal: Path) -> dict[str, dict[str, Any]]:
    """Results by file, as they stand in a journal."""
    return {path: entry["result"] for path, entry in _read_journal(journal).items()}


def parse(line: str) -> dict[str, Any] | None:
    """An entry of a journal, None for the last line of a run that was killed."""
    try:
        entry = json.loads(line)
        return entry if {"file", "asked", "result"} <= entry.keys() else None
    except (ValueError, AttributeError):
        return None


def _one(job: str, path: str, arguments: dict[str, Any], time_limit: float) -> tuple[str, dict[str, Any]]:
    worker: _Worker | None = getattr(_here, "worker", None)
    if worker is None or not worker.alive:
        worker = _here.worker = _Worker()
    return path, worker.ask(job, arguments, time_limit)


class _Worker:
    """The other end of a `data_prep._worker` process."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}._worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        self._buffer = b""
        if self._answer(_START_SECONDS) is None:
            raise ProcessDiedError(f"{sys.executable} -m {__package__}._worker does not start")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, job: str, arguments: dict[str, Any], time_limit: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"job": job, "arguments": arguments}).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._answer(time_limit)
        except BrokenPipeError:
            answer = None
        if answer is not None:
            return answer
        if self._ended():
            return {"status": "failed", "reason": f"the decoder crashed ({self._process.returncode})"}
        self.kill()
        return {"status": "failed", "reason": f"not done within {time_limit:g} seconds"}

    def _ended(self) -> bool:
        """Whether the process is gone by itself; its end of the pipe closes a moment before."""
        try:
            self._process.wait(timeout=1 if self._closed else 0)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _answer(self, time_limit: float) -> dict[str, Any] | None:
        """The next line; None when the time is over or the process has ended."""
        assert self._process.stdout is not None
        self._closed = False
        end = time.monotonic() + time_limit
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return None
                piece = os.read(self._process.stdout.fileno(), 65536)
                if not piece:
                    self._closed = True
                    return None
                self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __del__(self) -> None:
        if self._process.poll() is None:
            self.kill()
