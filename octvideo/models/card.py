"""What this toolkit adds to a Lightning checkpoint, and whether a checkpoint fits the network and the data.

A card comes out of a file that anybody may have written: it is checked here, once, before anything is built of it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from octvideo.errors import InputError
from octvideo.limits import LIMITS, Limits, check_numbers
from octvideo.models.checkpoints import CARD_KEY, HEAD, CheckpointError

# What makes a network, beside its weights.
MADE_OF = ("name", "alpha", "channel_multiple", "num_classes")

_TEXTS = ("name", "version", "colour")
_LONGEST_NAME = 1000  # characters of a class


def card_of(checkpoint: Mapping[str, Any], file: str | Path) -> dict[str, Any]:
    """The preprocessing and class names of a checkpoint; empty where it has none.

    Raises:
        CheckpointError: they are not what a card holds.
    """
    ours = checkpoint.get(CARD_KEY) or {}
    if not isinstance(ours, Mapping):
        raise CheckpointError(f"{file}: what it has as {CARD_KEY!r} is no dictionary")
    card = check_card(ours.get("card") or {}, file)
    names, number = card.get("class_names"), settings_of(checkpoint, file).get("num_classes")
    if names and number and len(names) != number:
        raise CheckpointError(f"{file}: its card has {len(names)} class_names, its num_classes is {number}")
    return card


def settings_of(checkpoint: Mapping[str, Any], file: str | Path) -> dict[str, Any]:
    """The settings of a checkpoint that `octvideo fit` wrote; empty where there are none.

    Raises:
        CheckpointError: those that make a network are no such settings.
    """
    settings = checkpoint.get("hyper_parameters")
    if not isinstance(settings, Mapping):
        return {}
    check_card({key: value for key, value in settings.items() if key in MADE_OF}, file, "hyper_parameters")
    return {key: value for key, value in settings.items() if isinstance(key, str) and not key.startswith("_")}


def check_card(card: Any, file: str | Path, what: str = "card") -> dict[str, Any]:
    """A copy of a card, with every known value of its kind and in its range; None stands for one that is not there.

    Args:
        card: what a file holds.
        file: for the error.
        what: what the file calls it.

    Raises:
        CheckpointError: naming the file and the value.
    """

    def refuse(key: str, allowed: str) -> CheckpointError:
        return CheckpointError(
            f"{file}: in its {what}, {key} is {repr(card[key])[:80]}, allowed is {allowed}"
        )

    if not isinstance(card, Mapping):
        raise CheckpointError(f"{file}: its {what} is no dictionary")
    known = {str(key): value for key, value in card.items() if value is not None}
    try:
        check_numbers({key: value for key, value in known.items() if key in LIMITS})
    except InputError as error:
        raise CheckpointError(f"{file}: in its {what}, {error}") from None
    for key in _TEXTS:
        if not isinstance(known.get(key, ""), str):
            raise refuse(key, "a text")
    names, number = known.get("class_names"), known.get("num_classes")
    if names is not None:
        if not isinstance(names, list | tuple) or not all(_is_name(name) for name in names):
            raise refuse("class_names", "a list of names")
        if len(set(names)) != len(names):
            raise refuse("class_names", "a list of different names")
        if number is not None and len(names) != number:
            raise CheckpointError(f"{file}: its {what} has {len(names)} class_names, num_classes is {number}")
    published = known.get("published")
    if published is not None:
        numbers = (
            [published.get(key) for key in ("top1", "top5")] if isinstance(published, Mapping) else [None]
        )
        if not all(_PER_CENT.fit(value) for value in numbers) or not isinstance(published.get("source"), str):
            raise refuse("published", "top1, top5, per cent, and source, a text")
    return dict(card)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME


_PER_CENT = Limits(0, 100)


def check_checkpoint(
    checkpoint: Mapping[str, Any], model: nn.Module, path: str | Path, **settings: Any
) -> None:
    """Raises CheckpointError naming the file and the first thing in it that does not fit the model.

    Args:
        checkpoint: a Lightning checkpoint.
        settings: hyperparameters that must be the checkpoint's, where it has them.
    """
    known = settings_of(checkpoint, path)
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
