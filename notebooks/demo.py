"""What the notebooks look at: a few demo videos, and a checkpoint trained on many.

`make demo` leaves a trained checkpoint in runs/demo. Where it is absent the notebooks run all the same, on one that
is trained here for about a minute and kept in runs/notebooks; the pictures then show less, since it has learnt less.
"""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message=".*torch.jit.script.*")  # pytorchvideo, when it is imported

import torch  # noqa: E402
from lightning.pytorch import Trainer, seed_everything  # noqa: E402

from octvideo import VideoClassifier  # noqa: E402
from octvideo.data import KineticsDataModule  # noqa: E402

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))  # for data_prep, which is not installed

from data_prep.motions.dataset import Plan, render, write_video  # noqa: E402

__all__ = ["CHECKOUT", "demo_checkpoint", "demo_data", "demo_videos", "quiet_trainer", "write_video"]

# The clips of configs/demo.yaml.
CLIPS = {
    "num_frames": 8,
    "frame_stride": 2,
    "short_side": (66, 78),
    "crop": 64,
    "flip": 0.0,
    "test_short_side": 72,
    "test_crop": 64,
    "num_clips": 5,
    "num_crops": 1,
    "batch_size": 16,
    "eval_batch_size": 4,
}

for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
    logging.getLogger(name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")
warnings.filterwarnings("ignore", message=".*num_workers.*|.*does not have many workers.*")
torch.set_num_threads(2)


def demo_videos(*, num_train: int = 16, num_val: int = 8, num_test: int = 16, seed: int = 0) -> Path:
    """Renders demo videos into a new temporary folder, and returns it."""
    folder = Path(tempfile.mkdtemp(prefix="octvideo-")) / "motions"
    render(folder, Plan(num_train=num_train, num_val=num_val, num_test=num_test, seed=seed), jobs=1)
    return folder


def demo_data(folder: Path, **changes: object) -> KineticsDataModule:
    """The data module of configs/demo.yaml over that folder."""
    arguments = {
        **{f"{split}_csv": str(folder / f"{split}.csv") for split in ("train", "val", "test")},
        "class_list": str(folder / "classes.txt"),
        **CLIPS,
        "num_workers": 0,
        **changes,
    }
    return KineticsDataModule(**arguments)


def quiet_trainer(**arguments: object) -> Trainer:
    """A Trainer that writes no files and prints nothing."""
    silent = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(accelerator="cpu", devices=1, **{**silent, **arguments})


def demo_checkpoint() -> Path:
    """The checkpoint of `make demo`, or else a stand-in that is trained now."""
    made = CHECKOUT / "runs" / "demo" / "checkpoints" / "best.ckpt"
    stand_in = CHECKOUT / "runs" / "notebooks" / "stand_in.ckpt"
    for path in (made, stand_in):
        if path.is_file():
            return path
    seed_everything(0, verbose=False)
    data = demo_data(demo_videos(num_train=128, num_val=8, num_test=8))
    classifier = VideoClassifier("i3d_tiny", alpha=0.25, num_classes=8, lr=0.05, warmup_epochs=1)
    trainer = quiet_trainer(max_epochs=4, limit_val_batches=0)
    trainer.fit(classifier, data)
    stand_in.parent.mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(stand_in)
    return stand_in
