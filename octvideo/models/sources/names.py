"""What the modules of this package share: renaming by the network's own names."""

import re
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from octvideo.errors import InputError


class SourceError(InputError):
    """A file of another network than the one it is for, told by what names and shapes do not; the text says which."""


def renamed(
    tensors: Mapping[str, Tensor], model: nn.Module, theirs: Callable[[str], str | None]
) -> dict[str, Tensor]:
    """Tensors under a network's names; those without a place keep their own.

    Args:
        theirs: the project's name of a network's tensor; None where it has none.
    """
    ours = {name: key for key in model.state_dict() if (name := theirs(key))}
    return {ours.get(name, name): value for name, value in tensors.items()}


def stage_numbers(model: nn.Module) -> dict[int, int]:
    """A stage's number, 1 for the stem and 2 to 5 for the residual ones, of pytorchvideo's block number."""
    found = (re.match(r"blocks\.(\d+)\..*res_blocks\.", key) for key in model.state_dict())
    residual = sorted({int(match[1]) for match in found if match})
    return {0: 1, **{block: stage for stage, block in enumerate(residual, start=2)}}


def find(model: nn.Module, path: str) -> nn.Module | None:
    """A module by its path; None where the network has none of that path."""
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None
