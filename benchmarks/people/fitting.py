"""Trainings of all layers by `octvideo fit`, and their tests: from scratch; on a GPU from Kinetics' weights, too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.people.footage import Clip, Footage, Split
from benchmarks.people.networks import MODEL, Network

RECORD = "people.json"
WARMUP = 0.1  # of the epochs
# Weights that are good already, few videos: a small rate for all but the new classifier, nothing frozen.
RATES = {
    "kinetics": ("--model.lr", "0.02", "--model.backbone_lr_factor", "0.1"),
    "scratch": ("--model.lr", "0.02"),
}
COMMON = (
    "--model.lr_batch_size", "8", "--data.batch_size", "8",
    "--model.view_batch_size", "1", "--data.num_workers", "1",
    "--trainer.limit_val_batches", "0", "--trainer.log_every_n_steps", "1", "--seed_everything", "0",
    "--trainer.enable_progress_bar", "false",
    "--data.frame_stride", "1", "--data.num_clips", "3", "--data.num_crops", "1",
)  # fmt: skip


@dataclass(frozen=True)
class Fitting:
    """A training on a split's training videos and its test on the others, three clips a video.

    Attributes:
        start: of RATES: "kinetics", the network's weights, or "scratch", random ones.
        clip: what is trained on and tested.
        epochs: of the training.
        runs: where all that is computed is kept.
    """

    start: str
    network: Network
    footage: Footage
    split: Split
    clip: Clip
    epochs: int
    runs: Path

    @property
    def folder(self) -> Path:
        name = f"{self.split.name.replace(' ', '_')}_{self.start}_{self.network.name}"
        return self.runs / self.footage.name / "fitted" / self.clip.name / name

    def is_known(self) -> bool:
        return (self.folder / RECORD).is_file()

    def found(self) -> dict[str, Any]:
        """What it came to."""
        return dict(json.loads((self.folder / RECORD).read_text()))

    def compute(self) -> None:
        """Trains and tests; an interrupted training starts again."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for part, videos in (("train", self.split.train), ("test", self.split.test)):
            rows = [f"{self.footage.paths[i]},{self.footage.labels[i]}\n" for i in videos]
            (self.folder / f"{part}.csv").write_text("".join(rows))
        run = self.folder / "run"
        model = ["--model.name", MODEL, "--model.alpha", f"{self.network.alpha}"]
        model += ["--trainer.default_root_dir", str(run), "--trainer.max_epochs", str(self.epochs)]
        model += ["--model.warmup_epochs", f"{WARMUP * self.epochs:g}"]
        start = ["--model.checkpoint", self.network.weights] if self.start == "kinetics" else []
        options = [*model, *RATES[self.start], *COMMON, *self._data()]
        _octvideo("fit", *options, *start)
        _octvideo("test", *options, "--ckpt_path", str(run / "checkpoints" / "last.ckpt"))
        metrics = json.loads((run / "metrics.json").read_text())
        shutil.rmtree(run / "checkpoints")  # 150 MB a run
        temporary = self.folder / f".{RECORD}"
        temporary.write_text(json.dumps({"top1": metrics["top1"], "gflops": metrics["gflops"]}) + "\n")
        os.replace(temporary, self.folder / RECORD)

    def _data(self) -> list[str]:
        side, root = str(self.clip.side), self.footage.root
        options = {
            "root": str(root / "videos"),
            "class_list": str(root / "classes.txt"),
            "train_csv": str(self.folder / "train.csv"),
            "val_csv": str(self.folder / "test.csv"),
            "test_csv": str(self.folder / "test.csv"),
            "num_frames": str(self.clip.num_frames),
            "fps": str(self.clip.fps),
            "short_side": f"[{self.clip.side}, {self.clip.side * 5 // 4}]",
            "crop": side,
            "test_short_side": side,
            "test_crop": side,
            "flip": "0.5" if self.footage.may_mirror else "0",
        }
        return [text for name, value in options.items() for text in (f"--data.{name}", value)]


def _octvideo(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "octvideo", *arguments], check=True)
