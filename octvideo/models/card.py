"""What this toolkit adds to a Lightning checkpoint, and whether a checkpoint fits the network and the data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from octvideo.models.checkpoints import CARD_KEY, HEAD, CheckpointError


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


def class_order(
    theirs: Sequence[str] | None, ours: Sequence[str] | None, path: str | Path
) -> list[int] | None:
    """Where each of our classes is among a checkpoint's; None where nothing has to move, or one side has no names.

    Raises:
        CheckpointError: the names are not the same ones.
    """
    if not theirs or not ours or list(theirs) == list(ours):
        return None
    if len(theirs) != len(ours):
        raise CheckpointError(f"{path} knows {len(theirs)} classes, the data's class list has {len(ours)}")
    place = {name: row for row, name in enumerate(theirs)}
    strange = next((name for name in ours if name not in place), None)
    if strange is not None or len(place) != len(theirs):
        raise CheckpointError(
            f"{path}: the data's class list has other classes than the checkpoint, first {strange!r}"
        )
    return [place[name] for name in ours]


def reorder_classes(state_dict: Mapping[str, Any], order: Sequence[int]) -> dict[str, Any]:
    """A state dict whose classifier gives class `order[i]` as class i; nothing else changes."""
    heads = {key for key, value in state_dict.items() if HEAD.search(key) and len(value) == len(order)}
    if not heads:
        raise CheckpointError("the classes are in another order, and no layer is known as the classifier")
    return {key: value[list(order)] if key in heads else value for key, value in state_dict.items()}


REORDERED = "the class list is in another order than the checkpoint's: classes are matched by name"


def _and_more(keys: list[str]) -> str:
    return f" (and {len(keys) - 1} more like it)" if len(keys) > 1 else ""
