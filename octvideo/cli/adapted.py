"""What `octvideo adapt` leaves: a checkpoint, and a table on the terminal."""

from collections.abc import Sequence
from pathlib import Path

import lightning
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import nn

from octvideo.adaptation import Measured
from octvideo.adaptation.report import COLUMNS, rows
from octvideo.card import Card
from octvideo.classifier import VideoClassifier
from octvideo.files import replacing


def write_checkpoint(out: Path, network: nn.Module, card: Card) -> None:
    """The network as `octvideo fit` would have written it."""
    classifier = VideoClassifier(**card.network)
    classifier.network.load_state_dict(network.state_dict())
    classifier.card = card
    content = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": classifier.state_dict(),
        "hyper_parameters": dict(classifier.hparams),
    }
    classifier.on_save_checkpoint(content)
    with replacing(out) as temporary:
        torch.save(content, temporary)


def table(title: str, measured: Sequence[Measured]) -> Table:
    """What each step brought; columns of nothing are left out."""
    found = Table(title=f"{title}: on {measured[-1].agreement.num_clips} clips not used", box=SIMPLE_HEAD)
    cells = rows(measured)
    shown = [i for i in range(len(COLUMNS)) if any(row[i] for row in cells)]
    for i in shown:
        found.add_column(COLUMNS[i], justify="right" if i else "left")
    for row in cells:
        found.add_row(*(row[i] for i in shown))
    return found
