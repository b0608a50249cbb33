"""A checkpoint as `octvideo fit` writes it, without a training."""

from pathlib import Path
from typing import Any

import lightning
import torch

from octvideo.classifier import VideoClassifier
from octvideo.models import MODELS
from octvideo.models.checkpoints import CARD_KEY


def write_checkpoint(
    file: Path, *, alpha: float = 0.0, class_names: tuple[str, ...] = ("left", "right"), **card: Any
) -> Path:
    """An i3d_tiny of random weights and random norm statistics; `card` changes its recipe."""
    torch.manual_seed(0)
    classifier = VideoClassifier("i3d_tiny", alpha, len(class_names))
    for key, value in classifier.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("proj.weight"):
            value.normal_(std=0.3)  # so that probabilities differ
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": classifier.state_dict(),
        "hyper_parameters": dict(classifier.hparams),
        CARD_KEY: {"card": {**MODELS["i3d_tiny"].card.recipe, "class_names": list(class_names), **card}},
    }
    torch.save(content, file)
    return file
