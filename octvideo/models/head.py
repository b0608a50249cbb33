"""The layer that maps features to classes: where it is, and a new one for other classes."""

from torch import nn

from octvideo.errors import InputError
from octvideo.models.checkpoints import HEAD

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def head_path(network: nn.Module) -> str:
    """The module path of the classifying layer: the last linear layer or convolution with one of the usual names.

    Raises:
        InputError: there is none.
    """
    paths = [
        path
        for path, module in network.named_modules()
        if isinstance(module, _KINDS) and HEAD.search(f"{path}.weight")
    ]
    if not paths:
        raise InputError(
            f"{type(network).__name__} has no layer that is known as its classifier; known are layers named proj, fc, "
            "head and classifier"
        )
    return paths[-1]


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
    path = head_path(network) if path is None else path
    try:
        old = network.get_submodule(path)
    except AttributeError:
        raise InputError(f"path is {path!r}, allowed is a layer of {type(network).__name__}") from None
    bias = getattr(old, "bias", None) is not None
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes, bias)
    elif type(old) in _KINDS and set(old.kernel_size) == {1} and old.groups == 1:
        new = type(old)(old.in_channels, num_classes, 1, bias=bias)
    else:
        raise InputError(
            f"path is {path!r}, a {type(old).__name__}; allowed are linear layers and 1x1 convolutions"
        )
    network.set_submodule(path, new.to(old.weight))
    return network
