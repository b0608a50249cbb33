"""A small data set for tests that go through the command line, and the options that shrink a run to it."""

from pathlib import Path
from typing import Any

NUM_VIDEOS = 4


def write_dataset(folder: Path, make_video: Any, classes: tuple[str, ...] = ("left", "right")) -> Path:
    """Four short videos, `all.csv` that lists them with labels in turn, and `classes.txt`."""
    rows = []
    for index in range(NUM_VIDEOS):
        make_video(folder / f"video_{index}.mp4", num_frames=20 + index, size=(48, 64), fps=15)
        rows.append(f"video_{index}.mp4 {index % len(classes)}\n")
    (folder / "all.csv").write_text("".join(rows))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    return folder


def shrink(dataset: Path, run: Path) -> list[str]:
    """Options that run any configuration on the CPU with `write_dataset`'s videos, in seconds."""
    options = {
        "trainer.default_root_dir": run,
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.strategy": "auto",
        "trainer.precision": "32-true",
        "trainer.max_epochs": 1,
        "trainer.check_val_every_n_epoch": 1,
        "trainer.limit_train_batches": 1,
        "trainer.limit_val_batches": 1,
        "trainer.num_sanity_val_steps": 0,
        "trainer.enable_progress_bar": "false",
        "trainer.log_every_n_steps": 1,
        "model.warmup_epochs": 1,
        "model.precise_norm_batches": 0,
        "model.warmup_start_lr": 0.001,
        "model.lr": 0.01,
        "model.num_classes": 2,
        "data.train_csv": dataset / "all.csv",
        "data.val_csv": dataset / "all.csv",
        "data.test_csv": dataset / "all.csv",
        "data.root": "null",
        "data.class_list": dataset / "classes.txt",
        "data.short_side": "[34,40]",
        "data.crop": 32,
        "data.test_short_side": 34,
        "data.test_crop": 32,
        "data.num_clips": 2,
        "data.num_crops": 1,
        "data.batch_size": 2,
        "data.num_workers": 0,
    }
    return [f"--{name}={value}" for name, value in options.items()]
