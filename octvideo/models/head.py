"""The layer that maps features to classes: where it is in a network of one's own, and a new one for other classes."""

import re

from torch import nn

from octvideo.errors import InputError

_NAMES = re.compile(r"(^|\.)(proj|fc|head|classifier(\.\d+)?)$")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def find_head(network: nn.Module) -> str:
    """The path of the last linear layer or convolution with one of a classifier's usual names; empty without one."""
    paths = [
        path
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) and _NAMES.search(path)
    ]
    return paths[-1] if paths else ""


def reset_classifier(network: nn.Module, num_classes: int, *, path: str | None = None) -> nn.Module:
    """Puts a new classifying layer for other classes into a network, in place, with random weights.

    Args:
        network: of `octvideo.models`, dense or octave, or one's own.
        num_classes: of the new layer.
        path: of the layer, `blocks.6.proj` say; None finds it by name.

    Returns:
        The network.

    Raises:
        InputError: there is no such layer, or it is neither linear nor a convolution of one pixel.
    """
    path = path or find_head(network)
    if not path:
        raise InputError(
            f"{type(network).__name__} has no layer that is known as its classifier; known are layers named proj, fc, "
            "head and classifier"
        )
    try:
        old = network.get_submodule(path)
    except AttributeError:
        raise InputError(f"path is {path!r}, allowed is a layer of {type(network).__name__}") from None
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes, old.bias is not None).to(old.weight)
    elif (
        isinstance(old, nn.Conv1d | nn.Conv2d | nn.Conv3d) and set(old.kernel_size) == {1} and old.groups == 1
    ):
        kind = next(kind for kind in _CONVOLUTIONS if isinstance(old, kind))
        new = kind(old.in_channels, num_classes, 1, bias=old.bias is not None).to(old.weight)
    else:
        raise InputError(
            f"path is {path!r}, a {type(old).__name__}; allowed are linear layers and 1x1 convolutions"
        )
    network.set_submodule(path, new)
    return network
