"""A loader that decodes in threads of this process: for frames that stay on the GPU.

CUDA does not work in forked processes, and frames decoded on a GPU should not leave it. Decoders release
Python's lock while they work, so that a few threads keep a GPU's decoder busy.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch.utils.data import BatchSampler, Dataset, Sampler


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
        collate_fn: Callable[[list[Any]], Any],
        num_threads: int = 4,
        prefetch: int = 2,
        drop_last: bool = False,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("num_threads", num_threads), ("prefetch", prefetch)):
            if value < 1:
                raise ValueError(f"{name} is {value}, allowed is 1 or more")
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
