"""Short trainings on small videos, for tests: what each step's loss was, and which videos it saw."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch import nn

from octvideo import VideoClassifier
from octvideo.data import KineticsDataModule
from octvideo.training.checkpoint import AtomicCheckpointIO

NUM_VIDEOS, NUM_CLASSES = 8, 3


def write_videos(folder: Path, make_video: Any) -> Path:
    """Eight videos and `all.csv`."""
    for number in range(NUM_VIDEOS):
        make_video(folder / f"{number}.mp4", num_frames=20 + number, size=(40, 48), fps=15)
    rows = (f"{number}.mp4 {number % NUM_CLASSES}\n" for number in range(NUM_VIDEOS))
    (folder / "all.csv").write_text("".join(rows))
    return folder / "all.csv"


class Record(Callback):
    """`losses[step]` and `videos[step]` of a training."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}
        self.videos: dict[int, list[int]] = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        step = trainer.fit_loop.epoch_loop.total_batch_idx
        self.losses[step] = float(outputs["loss"])
        self.videos[step] = batch["video"].tolist()


def small_data(csv: Path, **settings: Any) -> KineticsDataModule:
    defaults = {
        "train_csv": str(csv),
        "val_csv": str(csv),
        "num_classes": NUM_CLASSES,
        "num_frames": 4,
        "frame_stride": 2,
        "short_side": (34, 40),
        "crop": 32,
        "test_short_side": 34,
        "test_crop": 32,
        "batch_size": 2,
        "num_workers": 0,
    }
    return KineticsDataModule(**{**defaults, **settings})


def small_model(*, dropout: float = 0.5, **settings: Any) -> VideoClassifier:
    seed_everything(0)
    model = VideoClassifier("i3d_tiny", num_classes=NUM_CLASSES, **{"lr": 0.02, **settings})
    for head in model.network.modules():
        if getattr(head, "dropout", 0) is None:
            head.dropout = nn.Dropout(dropout)  # the tiny network has none
    return model


def small_trainer(folder: Path, callbacks: list[Callback], **settings: Any) -> Trainer:
    defaults = {
        "accelerator": os.environ.get("OCTVIDEO_TEST_ACCELERATOR", "cpu"),
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "max_epochs": 2,
        "default_root_dir": folder,
        "plugins": [AtomicCheckpointIO()],
    }
    return Trainer(**{**defaults, "callbacks": callbacks, **settings})


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], **tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            other[name],
            value,
            **(tolerance or {"rtol": 0, "atol": 0}),
            msg=lambda text, n=name: f"{n}: {text}",
        )
