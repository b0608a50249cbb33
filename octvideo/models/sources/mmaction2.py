"""mmaction2's Recognizer3D with a ResNet3d: SlowOnly, I3D and SlowFast, of mmaction2 1.x and of its 0.x files.

Names are those of mmaction/models/backbones/resnet3d{,_slowfast}.py: ``backbone.layer2.0.conv1.conv.weight``. Its
networks have the layers of pytorchvideo's, but average features before they are classified, and its I3D halves the
frames twice more: so they are networks of their own here.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from octvideo.models.sources.names import SourceError, find, renamed, stage_numbers

NAME = "mmaction2"

_IN_BLOCK = {
    "branch1_conv": "downsample.conv",
    "branch1_norm": "downsample.bn",
    "branch2.conv_a": "conv1.conv",
    "branch2.norm_a": "conv1.bn",
    "branch2.conv_b": "conv2.conv",
    "branch2.norm_b": "conv2.bn",
    "branch2.conv_c": "conv3.conv",
    "branch2.norm_c": "conv3.bn",
}
_HEAD = "cls_head.fc_cls"
_SLOW, _STEM = "backbone.slow_path.conv1.conv.weight", "backbone.conv1.conv.weight"


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    return _SLOW in tensors or _STEM in tensors


def convert(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Under pytorchvideo's names; the classifier of SlowFast takes the slow pathway's features first.

    Raises:
        SourceError: it is for another of its networks, or for pytorchvideo's of the same layers.
    """
    name = _network(tensors)
    if _network_of(model) != name:
        raise SourceError(
            f"it is mmaction2's network {name} here, which other networks resemble by names alone"
        )
    numbers = stage_numbers(model)
    found = renamed(tensors, model, lambda key: their_name(key, numbers))
    if name == "slowfast_r50_mm":
        head = next((key for key in found if key.endswith("proj.weight")), None)
        fast = tensors["backbone.fast_path.layer4.0.conv3.conv.weight"].shape[0]
        if head is not None:  # it has the fast one's first
            found[head] = torch.cat([found[head][:, fast:], found[head][:, :fast]], 1)
    return found


def their_name(key: str, stages: Mapping[int, int]) -> str | None:
    """mmaction2's name of a tensor of pytorchvideo's ResNet or SlowFast; None where it has none.

    Args:
        key: `blocks.3.res_blocks.0.branch2.conv_a.weight`, say.
        stages: 1 for the stem to 5, of pytorchvideo's block number.

    Example:
        >>> their_name("blocks.3.res_blocks.0.branch2.conv_a.weight", {3: 3})
        'backbone.layer2.0.conv1.conv.weight'
    """
    if match := re.fullmatch(r"blocks\.\d+\.proj\.(weight|bias)", key):
        return f"{_HEAD}.{match[1]}"
    match = re.fullmatch(r"blocks\.(\d+)\.(?:multipathway_blocks\.(\d)\.)?(.*)\.(\w+)", key)
    if not match or int(match[1]) not in stages:
        return None
    stage, module, tensor = stages[int(match[1])], match[3], match[4]
    start = {None: "backbone.", "0": "backbone.slow_path.", "1": "backbone.fast_path."}[match[2]]
    if module.startswith("multipathway_fusion."):
        name = {"conv_fast_to_slow": "conv", "norm": "bn"}.get(module.partition(".")[2])
        layer = "conv1" if stage == 1 else f"layer{stage - 1}"
        return name and f"backbone.slow_path.{layer}_lateral.{name}.{tensor}"
    if module in ("conv", "norm"):
        return f"{start}conv1.{'conv' if module == 'conv' else 'bn'}.{tensor}"
    if inner := re.fullmatch(r"res_blocks\.(\d+)\.(.*)", module):
        name = _IN_BLOCK.get(inner[2])
        return name and f"{start}layer{stage - 1}.{inner[1]}.{name}.{tensor}"
    return None


def _network(tensors: Mapping[str, Tensor]) -> str:
    """Which of our networks a file is of."""
    if _SLOW in tensors:
        return "slowfast_r50_mm"
    return "i3d_r50_mm" if tensors[_STEM].shape[2] > 1 else "slowonly_r50_mm"


def _network_of(model: nn.Module) -> str | None:
    """Which of mmaction2's networks a network is, by what its tensors do not tell; None for others."""
    if not any(isinstance(module, nn.AdaptiveAvgPool3d) for module in model.modules()):
        return None
    if find(model, "blocks.0.multipathway_blocks.0.conv") is not None:
        return "slowfast_r50_mm"
    stem = find(model, "blocks.0.conv")
    if not isinstance(stem, nn.Conv3d):
        return None
    return "i3d_r50_mm" if stem.stride[0] == 2 else "slowonly_r50_mm"
