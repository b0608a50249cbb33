"""Trainings on the GPU, against the same on the CPU: losses, averaged weights, statistics of norms, resumed, by two."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from octvideo.data.augment import Augmentation
from octvideo.engines.triton import tiles
from octvideo.training.checkpoint import RunCheckpoint
from tests.gpu.precision import distance, whole_float32
from tests.training.runs import Record, small_data, small_model, small_trainer, write_videos

pytestmark = pytest.mark.gpu

PROCESSES = Path(__file__).parents[1] / "training" / "two_processes.py"
CHECKOUT = Path(__file__).parents[2]

# Settings of the model and of the data. No dropout, whose numbers are the device's own; and steps so short that
# roundings stay roundings: at a rate of 0.02, weights off by a millionth changed the losses by a twentieth.
SHORT = {"lr": 5e-4}
SETTINGS = {
    "plain": (SHORT, {}),
    "octave": ({**SHORT, "alpha": 0.25}, {}),
    "averaged weights": ({**SHORT, "ema_decay": 0.5}, {}),
    "precise norms": ({**SHORT, "precise_norm_batches": 2}, {}),
    "adamw": ({"optimizer": "adamw", "lr": 1e-6}, {}),
    "recomputed": ({**SHORT, "checkpoint_activations": True}, {}),
    "augmented": (SHORT, {"augment": Augmentation(erasing=0.5, mixup=0.8, cutmix=1.0)}),
}


@pytest.fixture(scope="module")
def csv(tmp_path_factory, make_video):
    return write_videos(tmp_path_factory.mktemp("videos"), make_video)


def train(csv, folder, accelerator, of_model, of_data, ckpt_path=None, **of_trainer):
    """The losses of eight steps, what they changed of the weights, and the norms' statistics."""
    record, model = Record(), small_model(dropout=0.0, **of_model)
    before = copy.deepcopy(model.state_dict())
    trainer = small_trainer(
        folder, [record, RunCheckpoint(every_n_steps=1, keep_newest=9)], accelerator=accelerator, **of_trainer
    )
    with whole_float32():
        trainer.fit(model, datamodule=small_data(csv, **of_data), ckpt_path=ckpt_path, weights_only=True)
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
    end = last["state_dict"]
    changes = [end[name] - before[name] for name in before if "running_" not in name and before[name].dim()]
    return record.losses, changes, [end[name] for name in before if "running_" in name]


class NoWaits(Callback):
    """From the fourth step to the seventh, torch raises where the host waits for the GPU."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if pl_module.device.type == "cuda" and batch_idx in (3, 7):
            torch.cuda.set_sync_debug_mode("error" if batch_idx == 3 else "default")


@pytest.mark.parametrize(
    ("settings", "engine"),
    [("octave", "torch"), ("octave", "triton"), ("averaged weights", "torch"), ("adamw", "torch")],
)
def test_no_step_waits_for_the_gpu(device, csv, tmp_path, monkeypatch, settings, engine):
    monkeypatch.setenv("OCTVIDEO_ENGINE", engine)
    monkeypatch.setattr(tiles, "searches", False)  # which waits for what it times
    of_model, of_data = SETTINGS[settings]
    trainer = small_trainer(
        tmp_path,
        [NoWaits()],
        accelerator=accelerator(device),
        max_epochs=1,
        limit_val_batches=0,
        log_every_n_steps=50,
        gradient_clip_val=1.0,
    )
    try:
        trainer.fit(small_model(**of_model), datamodule=small_data(csv, batch_size=1, **of_data))
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert trainer.global_step == 8


def accelerator(device: str) -> str:
    return {"cuda": "gpu"}.get(device, device)


@pytest.mark.parametrize("settings", SETTINGS)
def test_training_is_the_cpus(device, csv, tmp_path, settings):
    there = train(csv, tmp_path / "there", accelerator(device), *SETTINGS[settings])
    here = train(csv, tmp_path / "here", "cpu", *SETTINGS[settings])
    assert len(there[0]) == 8
    assert there[0] == pytest.approx(here[0], rel=2e-3)
    assert distance(there[1], here[1]) < 5e-2
    assert distance(there[2], here[2]) < 1e-3


def test_training_in_bfloat16(device, csv, tmp_path):
    of_model = {**SHORT, "alpha": 0.25}
    found, _, _ = train(csv, tmp_path / "short", accelerator(device), of_model, {}, precision="bf16-mixed")
    expected, _, _ = train(csv, tmp_path / "whole", "cpu", of_model, {})
    assert found == pytest.approx(expected, rel=2e-2)


def test_resumed_is_uninterrupted(device, csv, tmp_path):
    of_model = {"alpha": 0.25, "ema_decay": 0.9, "optimizer": "adamw", "lr": 1e-6}
    whole, changes, _ = train(csv, tmp_path / "whole", accelerator(device), of_model, {})
    checkpoint = tmp_path / "whole" / "checkpoints" / "step-00000003.ckpt"
    resumed, again, _ = train(
        csv, tmp_path / "resumed", accelerator(device), of_model, {}, ckpt_path=checkpoint
    )
    assert sorted(resumed) == [3, 4, 5, 6, 7]
    assert resumed == pytest.approx({step: whole[step] for step in resumed}, rel=1e-3)
    assert distance(again, changes) < 2e-2


def test_processes_are_one_with_their_joint_batch(device, csv, tmp_path):
    """As many as there are GPUs, two at most; on one GPU the wrapped network is one process alone."""
    count = min(2, torch.cuda.device_count()) if device == "cuda" else 2

    def run(out: Path, processes: int, batch_size: int) -> tuple[list, list]:
        out.mkdir()
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [
            sys.executable,
            *(torchrun if processes else []),
            str(PROCESSES),
            str(out),
            str(csv),
            str(batch_size),
            "null",
        ]
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "OCTVIDEO_TEST_ACCELERATOR": accelerator(device),
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }  # fmt: skip
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
        videos = [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(max(processes, 1))]
        gradient = torch.load(out / "gradient.pt", weights_only=True, map_location="cpu")
        return videos, list(gradient.values())

    several, of_several = run(tmp_path / "several", count, 4 // count)
    (one,), of_one = run(tmp_path / "one", 0, 4)
    for step, videos in one.items():
        assert sorted(video for rank in several for video in rank[step]) == sorted(videos)
    assert distance(of_several, of_one) < 1e-2
