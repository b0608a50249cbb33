"""`octvideo fit` and `octvideo test` as people run them: clips and videos a second, and what the step waits for."""

import time
import traceback
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.gpu.lab import Lab
from benchmarks.gpu.plan import CHECKOUT
from benchmarks.views import synthetic
from octvideo.cli import main
from octvideo.models import create_model

WARM_STEPS = 10  # that do not count


class Watch(Callback):
    """Times a training's steps after the first ones, and counts what makes them wait for the GPU, by line of code.

    Attributes:
        newest: the last one made, since the command line makes it.
    """

    newest: "Watch"

    def __init__(self) -> None:
        Watch.newest = self
        self.steps, self.clips, self.seconds, self.waits = 0, 0, 0.0, Counter[str]()
        self.waited_for_data, self._left = 0.0, 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == WARM_STEPS:
            self._start = time.perf_counter()
            self._count_waits(True)
        elif batch_idx > WARM_STEPS:
            self.waited_for_data += time.perf_counter() - self._left

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._left = time.perf_counter()
        if batch_idx >= WARM_STEPS:
            self.steps += 1
            self.clips += len(batch["clip"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._count_waits(False)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self._start

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._left = self._start = time.perf_counter()

    def on_test_batch_start(self, *_: Any) -> None:
        self.waited_for_data += time.perf_counter() - self._left

    def on_test_batch_end(self, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.steps += 1
        self._left = time.perf_counter()
        self.seconds = self._left - self._start

    def _count_waits(self, on: bool) -> None:
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("warn" if on else "default")
        if on:
            self._before = warnings.catch_warnings()
            self._before.__enter__()
            warnings.simplefilter("always")
            warnings.showwarning = self._note
        else:
            self._before.__exit__(None, None, None)

    def _note(self, message: Any, *_: Any, **__: Any) -> None:
        if "synchroniz" not in str(message):
            return
        passed_over = ("/torch/", "/warnings.py", __file__)
        frame = next(
            frame
            for frame in reversed(traceback.extract_stack())
            if not any(part in frame.filename for part in passed_over)
        )
        self.waits[f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"] += 1


def videos(lab: Lab, count: int) -> Path:
    """A list of that many videos, all alike: 340 x 256, 10 s, H.264."""
    one = lab.scratch / "one.mp4"
    if not one.exists():
        synthetic(one)
    listed = lab.scratch / f"{count}.csv"
    rows = []
    for number in range(count):
        copy = lab.scratch / f"{number}.mp4"
        if not copy.exists():
            copy.hardlink_to(one)
        rows.append(f"{copy.name} {number % 4}\n")
    listed.write_text("".join(rows))
    return listed


def options(lab: Lab, decode: str) -> list[str]:
    accelerator = lab.pick("gpu", "cpu")
    given = {
        "trainer.accelerator": accelerator,
        "trainer.devices": 1,
        "trainer.precision": lab.pick("bf16-mixed", "32-true"),
        "trainer.callbacks": "benchmarks.gpu.fit.Watch",
        "trainer.default_root_dir": lab.scratch / lab.part.replace(" ", "_"),
        "data.num_workers": lab.pick(16, 0),
        "data.decode_device": lab.pick(decode, "cpu"),
    }
    return [text for name, value in given.items() for text in (f"--{name}", str(value))]


def fit(lab: Lab, *, decode: str) -> None:
    """30 steps: clips a second of the last 20, and the waits of one."""
    steps, clips = lab.pick(30, 12), lab.pick(32, 1)
    listed = videos(lab, steps * clips)
    tiny = [
        "--data.num_frames",
        "2",
        "--data.crop",
        "32",
        "--data.short_side",
        "[34, 40]",
        "--data.batch_size",
        "1",
    ]
    full = ["--data.batch_size", str(clips)]
    arguments = [
        "fit", "--model.name", lab.pick("i3d_r50", "i3d_tiny"), "--model.alpha", "0.25", "--model.num_classes", "4",
        "--data.train_csv", str(listed), "--data.val_csv", str(listed), *lab.pick(full, tiny),
        "--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0", "--trainer.num_sanity_val_steps", "0",
        "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "10", *options(lab, decode),
    ]  # fmt: skip
    _run(arguments)
    watch = Watch.newest
    lab.note(
        "a training step",
        clips_per_s=watch.clips / watch.seconds,
        ms=1e3 * watch.seconds / watch.steps,
        waiting_for_data=watch.waited_for_data / watch.seconds,
        waits_a_step=sum(watch.waits.values()) / watch.steps,
        where={place: count for place, count in watch.waits.most_common(8)},
    )


def test(lab: Lab, *, decode: str) -> None:
    """30 views of a video: videos a second, and the share of the time that is decoding."""
    listed = videos(lab, lab.pick(48, 1))
    tiny = [
        "--data.num_clips",
        "2",
        "--data.num_crops",
        "1",
        "--data.test_crop",
        "32",
        "--data.test_short_side",
        "34",
    ]
    name, weights = lab.pick("i3d_r50", "i3d_tiny"), lab.scratch / "weights.pt"
    torch.save(create_model(name, num_classes=4).state_dict(), weights)
    _run(
        ["test", "--model.name", name, "--model.alpha", "0.25", "--model.num_classes", "4",
         "--model.checkpoint", str(weights), "--data.test_csv", str(listed), *lab.pick([], tiny), *options(lab, decode)]
    )  # fmt: skip
    watch = Watch.newest
    lab.note(
        "a test of 30 views",
        videos_per_s=watch.steps / watch.seconds,
        waiting_for_data=watch.waited_for_data / watch.seconds,
    )


def _run(arguments: list[str]) -> None:
    code = main(arguments)
    if code:
        raise RuntimeError(
            f"octvideo {arguments[0]} ended with {code}; log.txt in {CHECKOUT.name}'s results says why"
        )


PARTS = {
    "clips from the CPU": partial(fit, decode="cpu"),
    "clips from NVDEC": partial(fit, decode="cuda"),
    "test on NVDEC": partial(test, decode="cuda"),
    "test from the CPU": partial(test, decode="cpu"),
}
