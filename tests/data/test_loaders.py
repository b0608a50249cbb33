"""The threaded loader against torch's own, and what stops it."""

import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from octvideo.data.dataset import ClipSampler, ClipSpec, TrainDataset, collate_train
from octvideo.data.loaders import ThreadedLoader
from octvideo.data.manifest import Manifest
from octvideo.data.transforms import TrainTransform


class Numbers(Dataset):
    def __init__(self, fails_at=None):
        self.fails_at = fails_at
        self.made = []

    def __len__(self):
        return 10

    def __getitem__(self, index):
        self.made.append(index)
        if index == self.fails_at:
            raise ValueError("number 5")
        return torch.tensor(index)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("num_threads", [1, 4])
def test_batches_are_those_of_a_data_loader(drop_last, num_threads):
    dataset = Numbers()
    options = {"batch_size": 4, "collate_fn": torch.stack, "drop_last": drop_last}
    loader = ThreadedLoader(dataset, SequentialSampler(dataset), num_threads=num_threads, **options)
    expected = [batch.tolist() for batch in DataLoader(dataset, **options)]
    assert len(loader) == len(expected)
    assert [batch.tolist() for batch in loader] == expected
    assert [batch.tolist() for batch in loader] == expected  # a second epoch


def test_it_works_ahead_but_not_far():
    dataset = Numbers()
    loader = ThreadedLoader(
        dataset, SequentialSampler(dataset), batch_size=1, collate_fn=torch.stack, num_threads=1, prefetch=2
    )
    batches = iter(loader)
    next(batches)
    batches.close()
    assert 1 <= len(dataset.made) <= 4


def test_an_error_reaches_the_consumer_and_leaves_no_thread():
    dataset = Numbers(fails_at=5)
    loader = ThreadedLoader(dataset, SequentialSampler(dataset), batch_size=2, collate_fn=torch.stack)
    batches = iter(loader)
    assert [next(batches).tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="number 5"):
        next(batches)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_decoding_in_threads_gives_the_clips_of_worker_processes(make_video, tmp_path):
    paths = [str(make_video(tmp_path / f"{number}.mp4", num_frames=40)) for number in range(4)]
    dataset = TrainDataset(
        Manifest("", tuple(paths), (0, 1, 2, 3)), ClipSpec(4, 4, 30.0), TrainTransform((32, 40), 32), seed=3
    )

    def clips(make):
        sampler = ClipSampler(dataset, num_replicas=1, rank=0, seed=3)
        return [batch["clip"] for batch in make(sampler)]

    options = {"batch_size": 2, "collate_fn": collate_train}
    threaded = clips(lambda sampler: ThreadedLoader(dataset, sampler, num_threads=3, **options))
    expected = clips(lambda sampler: DataLoader(dataset, sampler=sampler, **options))
    assert len(threaded) == len(expected) == 2
    assert all(torch.equal(here, there) for here, there in zip(threaded, expected, strict=True))
