"""The processes of a run: which of them has died, where torch only says that a connection is lost."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from lightning.pytorch import Trainer

from octvideo.errors import OctvideoError, ProcessDiedError

WAIT_SECONDS = 3.0  # a process that has closed its connections may take as long to be gone


@contextmanager
def deaths_named(trainer: Trainer) -> Iterator[None]:
    """Around what all processes of a run do together.

    Raises:
        ProcessDiedError: a connection between the processes broke, since one of them has died.
    """
    parent = os.getppid()
    try:
        yield
    except RuntimeError as error:
        if trainer.world_size == 1 or isinstance(error, OctvideoError) or not _is_lost_connection(error):
            raise
        raise ProcessDiedError(_who(trainer, parent)) from error


def _is_lost_connection(error: RuntimeError) -> bool:
    """NCCL's errors have a class of torch's; gloo's are plain, with the file of its source in the text."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def _who(trainer: Trainer, parent: int) -> str:
    # By the first process, where nothing else starts them.
    started = getattr(trainer.strategy.launcher, "procs", [])
    deadline = time.monotonic() + WAIT_SECONDS
    while (started or trainer.local_rank) and time.monotonic() < deadline:
        for rank, process in enumerate(started, start=1):
            if code := process.poll():
                return f"the process of rank {rank} ({process.pid}) {how_it_ended(code)}"
        if trainer.local_rank and os.getppid() != parent:
            return f"rank {trainer.global_rank} stops, since the process of rank 0 ({parent}) has died"
        time.sleep(0.05)
    return f"rank {trainer.global_rank} has lost the connection to another process of this run"


def how_it_ended(code: int) -> str:
    """A process's return code in words, as `subprocess` has it."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
