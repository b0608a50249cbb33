"""A training resumed from any of its checkpoints gives the losses and weights of the one that was never stopped."""

import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from octvideo.data.augment import Augmentation
from octvideo.training.checkpoint import RunCheckpoint
from tests.training.runs import (
    NUM_VIDEOS,
    Record,
    same_weights,
    small_data,
    small_model,
    small_trainer,
    write_videos,
)


class Keep(Callback):
    """A copy of every checkpoint that is written, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, []

    def wrap(self, checkpoint_io) -> None:
        save = checkpoint_io.save_checkpoint

        def saving(content, path, storage_options=None) -> None:
            save(content, path, storage_options)
            copy = self.folder / f"{len(self.files)}-{Path(path).name}"
            shutil.copy(path, copy)
            self.files.append(copy)

        checkpoint_io.save_checkpoint = saving


SETTINGS = {
    "plain": ({}, {}, {}),
    "everything": (
        {"ema_decay": 0.9, "precise_norm_batches": 2, "alpha": 0.25, "optimizer": "adamw", "lr": 1e-3},
        {"augment": Augmentation(rand_augment=1, erasing=0.5, mixup=0.8, cutmix=1.0)},
        {},
    ),
    "accumulated": ({}, {"batch_size": 1}, {"accumulate_grad_batches": 2, "val_check_interval": 4}),
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_resumed_is_uninterrupted(tmp_path, make_video, settings: str) -> None:
    csv = write_videos(tmp_path / "videos", make_video)
    of_model, of_data, of_trainer = SETTINGS[settings]

    def train(folder: Path, keep: Keep | None = None, ckpt_path: Path | None = None) -> tuple:
        record, model = Record(), small_model(**of_model)
        trainer = small_trainer(folder, [record, RunCheckpoint(every_n_steps=1)], **of_trainer)
        if keep:
            keep.wrap(trainer.strategy.checkpoint_io)
        trainer.fit(model, datamodule=small_data(csv, **of_data), ckpt_path=ckpt_path, weights_only=True)
        last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        return record, last

    keep = Keep(tmp_path)
    whole, end = train(tmp_path / "whole", keep)
    num_batches = len(whole.losses)
    names = [file.name.partition("-")[2] for file in keep.files]
    assert names.count("best.ckpt") >= 1
    assert names.count("last.ckpt") == end["global_step"]
    assert sorted(video for videos in whole.videos.values() for video in videos) == sorted(
        2 * list(range(NUM_VIDEOS))
    )
    for file in keep.files[:-1]:
        folder = tmp_path / f"from-{file.stem}"
        resumed, last = train(folder, ckpt_path=file)
        content = torch.load(file, weights_only=True)
        seen = content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"]
        assert sorted(resumed.losses) == list(range(seen, num_batches)), file.name
        assert resumed.losses == {step: whole.losses[step] for step in resumed.losses}, file.name
        assert resumed.videos == {step: whole.videos[step] for step in resumed.videos}, file.name
        same_weights(end["state_dict"], last["state_dict"])
        assert last["global_step"] == end["global_step"]
