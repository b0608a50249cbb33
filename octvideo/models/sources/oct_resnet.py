"""d-li14's octave ResNets for images (octconv.pytorch), as the dense ResNets that they are twins of.

Its layer has a convolution for each of the four paths, and a norm for each frequency; ours has the dense layer's
weight, high channels first, of which the four paths are blocks. So the octave twin of the dense network computes what
the file's network does, at the file's alpha.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from octvideo.models.sources.names import SourceError

NAME = "d-li14's octave ResNet"

# layer2.0.conv1.conv.conv_h2l.weight, layer2.0.downsample.0.bn_h.running_var
_CONV = re.compile(
    r"(?P<layer>layer\d\.\d+\.(?:conv\d|downsample\.0))\.conv\.conv_(?P<into>[hl])2(?P<out>[hl])\.weight"
)
_NORM = re.compile(r"(?P<layer>layer\d\.\d+\.(?:conv\d|downsample\.0))\.bn_(?P<out>[hl])\.(?P<tensor>\w+)")


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    return any(_CONV.fullmatch(name.removeprefix("module.")) for name in tensors)


def as_dense(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """A dense ResNet's state dict, and the share of low channels that the file's network was trained with.

    Raises:
        SourceError: a layer without one of the paths that the others of it ask for.
    """
    dense: dict[str, Tensor] = {}
    paths: dict[str, dict[str, Tensor]] = {}
    norms: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name = key.removeprefix("module.")  # of several GPUs
        if match := _CONV.fullmatch(name):
            paths.setdefault(f"{match['layer']}.weight", {})[match["into"] + match["out"]] = value
        elif match := _NORM.fullmatch(name):
            norms.setdefault(f"{_norm_of(match['layer'])}.{match['tensor']}", {})[match["out"]] = value
        else:
            dense[name] = value
    low = whole = 0
    for name, blocks in paths.items():
        dense[name] = _joined(name, blocks)
        if "ll" in blocks:
            low, whole = low + blocks["ll"].shape[0], whole + dense[name].shape[0]
    for name, parts in norms.items():
        counter = parts["h"].dim() == 0
        dense[name] = parts["h"] if counter else torch.cat([parts[out] for out in "hl" if out in parts])
    return dense, low / max(whole, 1)


def _norm_of(layer: str) -> str:
    """torchvision's name of the norm behind a convolution."""
    return re.sub(r"downsample\.0$", "downsample.1", re.sub(r"conv(\d)$", r"bn\1", layer))


def _joined(name: str, blocks: Mapping[str, Tensor]) -> Tensor:
    """The dense weight of a layer's paths: rows are what comes out, high channels first, columns what goes in."""
    outs, ins = ([side for side in "hl" if any(path[end] == side for path in blocks)] for end in (1, 0))
    missing = [f"conv_{into}2{out}" for out in outs for into in ins if into + out not in blocks]
    if missing:
        raise SourceError(f"{name.removesuffix('.weight')} lacks its path {missing[0]}")
    return torch.cat([torch.cat([blocks[into + out] for into in ins], 1) for out in outs])
