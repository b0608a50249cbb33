"""The classes that weights know, in the order of a class list: matched by name, never by number."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from octvideo.models.checkpoints import CheckpointError

REORDERED = "the class list is in another order than the checkpoint's: classes are matched by name"


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


def reorder_classes(state_dict: Mapping[str, Any], head: str, order: Sequence[int]) -> dict[str, Any]:
    """A state dict whose classifier gives class `order[i]` as class i; nothing else changes.

    Args:
        head: the path of the layer that classifies.
    """
    heads = {f"{head}.weight", f"{head}.bias"}
    return {key: value[list(order)] if key in heads else value for key, value in state_dict.items()}


def reordered(network: nn.Module, head: str, order: Sequence[int]) -> nn.Module:
    """A network's classes in another order, in place; a network around it where its layers cannot be seen."""
    if next(network.parameters(), None) is None:
        return Reordered(network, list(order))
    network.load_state_dict(reorder_classes(network.state_dict(), head, order))
    return network


class Reordered(nn.Module):
    """A network whose class i is another's class `order[i]`."""

    def __init__(self, network: nn.Module, order: list[int]) -> None:
        super().__init__()
        self.network, self.order = network, order

    def forward(self, clip: Tensor) -> Tensor:
        return self.network(clip)[:, self.order]
