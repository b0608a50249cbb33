"""Fine-tuning by `octvideo fit` and its test, a run at a time; a run that has finished is not run again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.people.footage import Clip, Footage, Split
from benchmarks.people.networks import ALPHAS, MODEL

RECORD = "people.json"
CLIP = Clip(16, 10.0, 112)
EPOCHS = 10
# Weights that are good already, few videos: a small rate for all but the new classifier, nothing frozen.
TUNED = ("--model.lr", "0.02", "--model.backbone_lr_factor", "0.1")
SCRATCH = ("--model.lr", "0.02")
COMMON = (
    "--model.lr_batch_size", "8", "--data.batch_size", "8", "--model.warmup_epochs", "1",
    "--model.view_batch_size", "1", "--data.num_workers", "1", "--data.flip", "0.5",
    "--trainer.limit_val_batches", "0", "--trainer.log_every_n_steps", "1", "--seed_everything", "0",
    "--trainer.enable_progress_bar", "false",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A training on a split's training videos and its test on the others.

    Attributes:
        start: "kinetics", its weights, or "scratch", random ones.
    """

    start: str
    alpha: float
    split: Split

    def folder(self, runs: Path) -> Path:
        return runs / "tuning" / f"{self.split.name.replace(' ', '_')}_{self.start}_alpha{self.alpha:g}"

    def found(self, runs: Path) -> dict[str, Any] | None:
        """What it came to; None where it has not finished."""
        file = self.folder(runs) / RECORD
        return json.loads(file.read_text()) if file.is_file() else None


def plan(footage: Footage) -> Iterator[Run]:
    """Every run, those first that are compared first: a split with all networks, the halves before the folds."""
    for name in sorted(footage.splits, key=lambda name: name == "ten folds"):
        for split in footage.splits[name]:
            yield from (Run("kinetics", alpha, split) for alpha in ALPHAS)
    for name in sorted(footage.splits, key=lambda name: name == "ten folds"):
        yield from (Run("scratch", alpha, split) for split in footage.splits[name][:1] for alpha in ALPHAS)


def execute(run: Run, footage: Footage, weights: Path, runs: Path) -> None:
    """Trains and tests it; an interrupted training starts again."""
    folder = run.folder(runs)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part, videos in (("train", run.split.train), ("test", run.split.test)):
        rows = [f"{footage.paths[i]},{footage.labels[i]}\n" for i in videos]
        (folder / f"{part}.csv").write_text("".join(rows))
    data = [
        "--data.root",
        str(footage.root / "videos"),
        "--data.class_list",
        str(footage.root / "classes.txt"),
    ]
    for part in ("train", "val", "test"):
        data += [f"--data.{part}_csv", str(folder / f"{'train' if part == 'train' else 'test'}.csv")]
    side = str(CLIP.side)
    data += [
        "--data.num_frames",
        str(CLIP.num_frames),
        "--data.frame_stride",
        "1",
        "--data.fps",
        str(CLIP.fps),
    ]
    data += ["--data.short_side", f"[{CLIP.side}, {CLIP.side * 5 // 4}]", "--data.crop", side]
    data += [
        "--data.test_short_side",
        side,
        "--data.test_crop",
        side,
        "--data.num_clips",
        "3",
        "--data.num_crops",
        "1",
    ]
    model = [
        "--model.name",
        MODEL,
        "--model.alpha",
        str(run.alpha),
        "--trainer.default_root_dir",
        str(folder / "run"),
    ]
    model += [*(TUNED if run.start == "kinetics" else SCRATCH), *COMMON, "--trainer.max_epochs", str(EPOCHS)]
    start = ["--model.checkpoint", str(weights)] if run.start == "kinetics" else []
    _octvideo("fit", *model, *start, *data)
    _octvideo("test", *model, *data, "--ckpt_path", str(folder / "run" / "checkpoints" / "last.ckpt"))
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    found = {"top1": metrics["top1"], "videos": metrics["videos_scored"], "gflops": metrics["gflops"]}
    shutil.rmtree(folder / "run" / "checkpoints")  # 150 MB a run
    temporary = folder / f".{RECORD}"
    temporary.write_text(json.dumps(found) + "\n")
    os.replace(temporary, folder / RECORD)


def _octvideo(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "octvideo", *arguments], check=True)
