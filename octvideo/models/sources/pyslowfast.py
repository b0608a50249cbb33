"""PySlowFast's own checkpoints: what its training writes of the ResNet and SlowFast families, and its X3D's.

Names are those of slowfast/models/{stem,resnet,head}_helper.py: ``s3.pathway0_res0.branch2.a.weight``.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from octvideo.models.sources.names import renamed, stage_numbers

NAME = "PySlowFast"

_STEM = {
    "conv": "conv",
    "norm": "bn",
    # X3D's, whose names pytorchvideo has the other way round: `conv_t` is the one over height and width.
    "conv.conv_t": "conv_xy",
    "conv.conv_xy": "conv",
}
_IN_BLOCK = {
    "branch1_conv": "branch1",
    "branch1_norm": "branch1_bn",
    "branch2.conv_a": "branch2.a",
    "branch2.norm_a": "branch2.a_bn",
    "branch2.conv_b": "branch2.b",
    "branch2.norm_b": "branch2.b_bn",
    "branch2.norm_b.0": "branch2.b_bn",
    "branch2.norm_b.1.block.0": "branch2.se.fc1",
    "branch2.norm_b.1.block.2": "branch2.se.fc2",
    "branch2.conv_c": "branch2.c",
    "branch2.norm_c": "branch2.c_bn",
}
_HEAD = {
    "proj": "projection",
    "pool.pre_conv": "conv_5",
    "pool.pre_norm": "conv_5_bn",
    "pool.post_conv": "lin_5",
}
_EPS = 1e-5  # of all its norms


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    return any(key.startswith("s1.pathway0_stem.") for key in tensors)


def convert(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Under pytorchvideo's names; the norm of X3D's first shortcut, which pytorchvideo has not, goes beside it."""
    numbers = stage_numbers(model)
    found = renamed(tensors, model, lambda key: their_name(key, numbers))
    for name in [name for name in found if name.endswith(".branch1_bn.running_var")]:
        _fold_shortcut(found, name.removesuffix(".branch1_bn.running_var"), numbers)
    return found


def their_name(key: str, stages: Mapping[int, int]) -> str | None:
    """PySlowFast's name of a tensor of pytorchvideo's ResNet, SlowFast or X3D; None where it has none.

    Args:
        key: `blocks.3.res_blocks.0.branch2.conv_a.weight`, say.
        stages: PySlowFast's stage, 1 for the stem to 5, of pytorchvideo's block number.

    Example:
        >>> their_name("blocks.3.res_blocks.0.branch2.conv_a.weight", {3: 3})
        's3.pathway0_res0.branch2.a.weight'
    """
    match = re.fullmatch(r"blocks\.(\d+)\.(?:multipathway_blocks\.(\d)\.)?(.*)\.(\w+)", key)
    if not match:
        return None
    block, pathway, module, tensor = int(match[1]), int(match[2] or 0), match[3], match[4]
    if module in _HEAD:
        return f"head.{_HEAD[module]}.{tensor}"
    if block not in stages:
        return None
    stage = stages[block]
    if module.startswith("multipathway_fusion."):
        name = {"conv_fast_to_slow": "conv_f2s", "norm": "bn"}.get(module.partition(".")[2])
        return name and f"s{stage}_fuse.{name}.{tensor}"
    if module in _STEM:
        return f"s{stage}.pathway{pathway}_stem.{_STEM[module]}.{tensor}"
    if inner := re.fullmatch(r"res_blocks\.(\d+)\.(.*)", module):
        name = _IN_BLOCK.get(inner[2])
        return name and f"s{stage}.pathway{pathway}_res{inner[1]}.{name}.{tensor}"
    if inner := re.fullmatch(r"nonlocal_blocks\.(\d+)\.(.*)", module):
        name = "bn" if inner[2] == "norm" else inner[2]
        return f"s{stage}.pathway{pathway}_nonlocal{inner[1]}.{name}.{tensor}"
    return None


def _fold_shortcut(found: dict[str, Tensor], theirs: str, stages: Mapping[int, int]) -> None:
    """Put a shortcut's norm into its convolution and into the last norm beside it, in place.

    `norm(conv(x)) + norm_c(y)`: the scale goes into the kernel, and what is added into what norm_c adds.
    """
    stage, _, block = theirs.partition(".pathway0_res")
    ours = {f"s{s}": f"blocks.{b}" for b, s in stages.items()}.get(stage)
    conv = f"{ours}.res_blocks.{block}.branch1_conv.weight"
    added = f"{ours}.res_blocks.{block}.branch2.norm_c.bias"
    norm = {part: f"{theirs}.branch1_bn.{part}" for part in ("weight", "bias", "running_mean", "running_var")}
    if not {conv, added, *norm.values()} <= set(found):
        return  # complained about, since they keep their names
    weight, bias, mean, variance = (found.pop(name) for name in norm.values())
    found.pop(f"{theirs}.branch1_bn.num_batches_tracked", None)
    scale = weight / torch.sqrt(variance + _EPS)
    found[conv] = found[conv] * scale.view(-1, 1, 1, 1, 1)
    found[added] = found[added] + bias - mean * scale
