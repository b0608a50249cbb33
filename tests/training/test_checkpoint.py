"""Which checkpoints a run keeps, and what a failed write leaves."""

import errno
import os
from pathlib import Path

import pytest
import torch

from octvideo.training.checkpoint import AtomicCheckpointIO, CheckpointWriteError, RunCheckpoint
from tests.training.runs import small_data, small_model, small_trainer, write_videos


@pytest.fixture(scope="module")
def csv(tmp_path_factory, make_video):
    return write_videos(tmp_path_factory.mktemp("videos"), make_video)


def kept(csv: Path, folder: Path, checkpoint: RunCheckpoint, **settings) -> dict[str, int]:
    """The step of each checkpoint of a training of two epochs of four steps."""
    trainer = small_trainer(folder, [checkpoint], limit_val_batches=1, **settings)
    trainer.fit(small_model(), datamodule=small_data(csv))
    files = sorted((folder / "checkpoints").iterdir())
    return {file.name: torch.load(file, weights_only=True)["global_step"] for file in files}


def test_last_is_of_the_last_step_whatever_is_best(csv, tmp_path) -> None:
    assert kept(csv, tmp_path, RunCheckpoint(), check_val_every_n_epoch=1)["last.ckpt"] == 8
    assert kept(csv, tmp_path / "no", RunCheckpoint(save_top_k=0)) == {"last.ckpt": 8}


def test_the_newest_are_kept(csv, tmp_path) -> None:
    found = kept(csv, tmp_path, RunCheckpoint(save_top_k=0, every_n_steps=3, keep_newest=3))
    # after 3 steps, at the end of the epoch of 4, 3 steps later, at the end; the first is gone
    assert found == {
        "last.ckpt": 8,
        "step-00000004.ckpt": 4,
        "step-00000007.ckpt": 7,
        "step-00000008.ckpt": 8,
    }


def test_minutes(csv, tmp_path) -> None:
    found = kept(csv, tmp_path, RunCheckpoint(save_top_k=0, every_minutes=1e-9, keep_newest=99))
    assert [name for name in found if name != "last.ckpt"] == [
        f"step-{step:08d}.ckpt" for step in range(1, 9)
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    file = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, file)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        CheckpointWriteError, match=r"No space left on device.* the previous one is whole"
    ) as error:
        AtomicCheckpointIO().save_checkpoint({"step": 2}, file)
    assert str(error.value).startswith(str(file))
    assert torch.load(file, weights_only=True) == {"step": 1}
    assert os.listdir(tmp_path) == ["last.ckpt"]
    with pytest.raises(CheckpointWriteError, match="there is none before it"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, tmp_path / "other.ckpt")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"save_top_k": 2}, "checkpoint.save_top_k is 2, allowed: 0 or 1"),
        ({"every_minutes": 0}, "checkpoint.every_minutes is 0"),
        ({"every_n_steps": 0}, "checkpoint.every_n_steps is 0"),
        ({"keep_newest": -1}, "checkpoint.keep_newest is -1"),
    ],
)
def test_out_of_range(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        RunCheckpoint(**arguments)
