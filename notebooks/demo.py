"""What the notebooks look at: a few demo videos, and a checkpoint trained on many.

`make demo` leaves a trained checkpoint in runs/demo. Where it is absent the notebooks run all the same: they train one
as the demo does, which takes some minutes once, and keep it in runs/notebooks.
With OCTVIDEO_NOTEBOOKS=small in the environment everything is a few videos and steps: to see that the cells run.
"""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore", message=".*torch.jit.script.*")  # pytorchvideo, when it is imported

import torch  # noqa: E402
from lightning.pytorch import Trainer  # noqa: E402
from torch import Tensor  # noqa: E402

from octvideo.data import KineticsDataModule  # noqa: E402
from octvideo.data.manifest import find_videos  # noqa: E402
from octvideo.viz import read_clip  # noqa: E402

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))  # for data_prep, which is not installed

from data_prep.motions.dataset import Plan, render, write_video  # noqa: E402

__all__ = [
    "RUNS",
    "demo_checkpoint",
    "demo_data",
    "demo_folder",
    "demo_videos",
    "footage",
    "middle_clips",
    "quiet_trainer",
    "write_video",
]

SMALL = os.environ.get("OCTVIDEO_NOTEBOOKS") == "small"
RUNS = CHECKOUT / "runs" / ("notebooks_small" if SMALL else "notebooks")

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
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(2)


def demo_videos(*, num_train: int = 16, num_val: int = 8, num_test: int = 16, seed: int = 0) -> Path:
    """Renders demo videos into a new temporary folder, and returns it."""
    folder = Path(tempfile.mkdtemp(prefix="octvideo-")) / "motions"
    counts = {"num_train": num_train, "num_val": num_val, "num_test": num_test}
    if SMALL:
        counts = {name: min(count, 16) for name, count in counts.items()}
    render(folder, Plan(**counts, seed=seed), jobs=1 if SMALL else 2)
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


def quiet_trainer(**arguments: Any) -> Trainer:
    """A Trainer that writes no files and prints nothing."""
    silent = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    if SMALL:
        silent["max_steps"] = 2
    return Trainer(accelerator="cpu", devices=1, **{**silent, **arguments})


def middle_clips(data: KineticsDataModule, split: str = "test") -> tuple[Tensor, Tensor]:
    """The middle clip of every video, `float (N, 3, T, H, W)`, and the labels `(N,)`."""
    clips = [read_clip(path, data.card)[0] for path in data.paths(split)]
    return torch.stack(clips), torch.as_tensor(data.manifest(split).labels)


def demo_folder() -> Path:
    """The folder of the demo's own videos, which are rendered if they are not there."""
    folder = RUNS / "data" if SMALL else CHECKOUT / "runs" / "demo" / "data"
    few = ["--num-train", "16", "--num-val", "8", "--num-test", "16", "--jobs", "1"] if SMALL else []
    _run("data_prep.motions", str(folder), *few)
    return folder


def footage() -> list[str]:
    """The videos below the folder that OCTVIDEO_FOOTAGE names; none without it."""
    folder = os.environ.get("OCTVIDEO_FOOTAGE")
    return find_videos([folder]).paths if folder else []


def demo_checkpoint(alpha: float = 0.25) -> Path:
    """A checkpoint of the demo's octave network, or with alpha 0 of its dense twin: one recipe, seed and set of videos.

    That of `make demo` if it is there. Else it is trained now, as the demo does, and kept in runs/notebooks.
    """
    made = CHECKOUT / "runs" / "demo" / "checkpoints" / "best.ckpt"
    if alpha and made.is_file():
        return made
    name = "octave" if alpha else "dense"
    kept = RUNS / f"{name}.ckpt"
    if not kept.is_file():
        folder = demo_folder()
        fit = ["octvideo", "fit", "--config", "configs/demo.yaml", "--ckpt_path", "last"]
        fit += ["--model.alpha", str(alpha), "--trainer.default_root_dir", str(RUNS / name)]
        for split in ("train", "val", "test"):
            fit += [f"--data.{split}_csv", str(folder / f"{split}.csv")]
        fit += ["--data.class_list", str(folder / "classes.txt")]
        _run(*fit, *(["--trainer.max_steps", "2", "--data.num_workers", "0"] if SMALL else []))
        shutil.copy(RUNS / name / "checkpoints" / "best.ckpt", kept)
    return kept


def _run(*module: str) -> None:
    subprocess.run([sys.executable, "-m", *module], cwd=CHECKOUT, check=True, capture_output=True)
