"""Loaders: worker processes for decoding on the CPU, threads of this process for decoding on a GPU.

CUDA does not work in forked processes, and frames decoded on a GPU should not leave it. Decoders release
Python's lock while they work, so that a few threads keep a GPU's decoder busy.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from octvideo.data.watchdog import death_of_worker
from octvideo.errors import InputError
from octvideo.heap import return_freed_memory

Collate = Callable[[list[Any]], Any]


class ThreadedLoader:
    """Batches of a map-style dataset in the sampler's order, items made ahead in threads.

    Args:
        dataset: `dataset[key]` must be safe to call from several threads at once.
        sampler: keys, in order.
        batch_size: items a batch.
        collate_fn: list of items to batch.
        num_threads: items made at a time.
        prefetch: batches made ahead of the one in use.
        drop_last: whether to leave out a last batch that is not full.

    Attributes:
        dataset, sampler, batch_size: as given; Lightning calls `sampler.set_epoch`.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: Sampler,
        *,
        batch_size: int,
        collate_fn: Collate,
        num_threads: int = 4,
        prefetch: int = 2,
        drop_last: bool = False,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("num_threads", num_threads), ("prefetch", prefetch)):
            if value < 1:
                raise InputError(f"{name} is {value}, allowed is 1 or more")
        self.dataset = dataset
        self.sampler = sampler
        self.batch_size = batch_size
        self._batches = BatchSampler(sampler, batch_size, drop_last)
        self._collate = collate_fn
        self._num_threads = num_threads
        self._prefetch = prefetch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        pending: deque[list[Future]] = deque()
        keys = iter(self._batches)
        with ThreadPoolExecutor(self._num_threads, thread_name_prefix="decode") as pool:

            def ask() -> None:
                batch: Sequence[Any] | None = next(keys, None)
                if batch is not None:
                    pending.append([pool.submit(self._item, key) for key in batch])

            try:
                for _ in range(self._prefetch + 1):
                    ask()
                while pending:
                    items = [future.result() for future in pending.popleft()]
                    ask()
                    yield self._collate(items)
            finally:  # an error, or the consumer has stopped early
                for futures in pending:
                    for future in futures:
                        future.cancel()

    def _item(self, key: Any) -> Any:
        item = self.dataset[key]
        if torch.cuda.is_initialized():
            # The frames were made on this thread's stream; the consumer's may be another.
            torch.cuda.current_stream().synchronize()
        return item


class VideoLoader(DataLoader):
    """A DataLoader whose workers are watched, and which starts to work when it is first asked for a batch.

    Lightning makes an iterator before it tells the sampler the epoch; workers must not run ahead of that.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        watchdog = getattr(self.dataset, "watchdog", None)
        if watchdog is None or self.num_workers == 0:
            yield from super().__iter__()
            return
        try:
            with watchdog.watching(self.dataset.manifest.paths):  # type: ignore[attr-defined]
                yield from super().__iter__()
        except RuntimeError as error:
            death = death_of_worker(error)
            if death is None:
                raise
            raise death from error


Loader = VideoLoader | ThreadedLoader


def make_loader(
    dataset: Dataset,
    sampler: Sampler,
    *,
    batch_size: int,
    collate_fn: Collate,
    drop_last: bool,
    num_workers: int | None,
    device: torch.device,
) -> Loader:
    """The loader for decoding on a device.

    Args:
        num_workers: processes (CPU; 0 is none) or threads (GPU, at least one); None is one a CPU core, at
            most 8.
        device: where the dataset decodes.
    """
    workers = num_workers if num_workers is not None else min(_num_cpus(), 8)
    if device.type == "cuda":
        return ThreadedLoader(
            dataset,
            sampler,
            batch_size=batch_size,
            collate_fn=collate_fn,
            drop_last=drop_last,
            num_threads=max(workers, 1),
        )
    return VideoLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate_fn,
        drop_last=drop_last,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_settle,
    )


def _num_cpus() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _settle(worker: int) -> None:
    """Decoding processes share the cores, and slow one another down with more threads each; they share memory, too."""
    torch.set_num_threads(1)
    return_freed_memory()
