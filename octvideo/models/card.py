"""What this toolkit adds to a Lightning checkpoint, and whether a checkpoint fits the network and the data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from octvideo.models.checkpoints import CheckpointError

CARD_KEY = "octvideo"  # in a checkpoint: {"version": str, "card": preprocessing and class names}


def card_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The preprocessing and class names of a checkpoint; empty where it has none."""
    return (checkpoint.get(CARD_KEY) or {}).get("card") or {}


def check_checkpoint(
    checkpoint: Mapping[str, Any], model: nn.Module, path: str | Path, **settings: Any
) -> None:
    """Raises CheckpointError naming the file and the first thing in it that does not fit the model.

    Args:
        checkpoint: a Lightning checkpoint.
        settings: hyperparameters that must be the checkpoint's, where it has them.
    """
    known = checkpoint.get("hyper_parameters") or {}
    for key, value in settings.items():
        if key in known and known[key] != value:
            raise CheckpointError(f"{path} does not fit: its {key} is {known[key]}, the model's is {value}")
    theirs, ours = checkpoint.get("state_dict"), model.state_dict()
    if not isinstance(theirs, dict):
        raise CheckpointError(f"{path} does not fit: it has no state_dict")
    missing = [key for key in ours if key not in theirs]
    unexpected = [key for key in theirs if key not in ours]
    reshaped = [key for key in ours if key in theirs and theirs[key].shape != ours[key].shape]
    if reshaped:
        key = reshaped[0]
        raise CheckpointError(
            f"{path} does not fit: {key} is {tuple(theirs[key].shape)}, the model's is {tuple(ours[key].shape)}"
            + _and_more(reshaped)
        )
    if missing:
        raise CheckpointError(f"{path} does not fit: it lacks {missing[0]}" + _and_more(missing))
    if unexpected:
        raise CheckpointError(f"{path} does not fit: it has {unexpected[0]} too" + _and_more(unexpected))


def check_class_names(card: Mapping[str, Any], class_names: Sequence[str] | None, path: str | Path) -> None:
    """Raises CheckpointError if the data's classes are not the checkpoint's, in its order."""
    theirs = list(card.get("class_names") or [])
    ours = list(class_names or [])
    if not theirs or not ours or theirs == ours:
        return
    if len(theirs) != len(ours):
        raise CheckpointError(f"{path} knows {len(theirs)} classes, the data's class list has {len(ours)}")
    row = next(i for i, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a != b)
    what = "has them in another order" if sorted(theirs) == sorted(ours) else "has other classes"
    raise CheckpointError(
        f"{path}: the data's class list {what} than the checkpoint: class {row} is {ours[row]!r}, was {theirs[row]!r}"
    )


def _and_more(keys: list[str]) -> str:
    return f" (and {len(keys) - 1} more like it)" if len(keys) > 1 else ""
