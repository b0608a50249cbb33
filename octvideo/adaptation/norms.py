"""Which batch norm a convolution's output goes through, and what that makes of it."""

from typing import Any

import torch
from torch import Tensor, nn

from octvideo.models.operations import Kind, Operations
from octvideo.models.trace import trace


def norm_behind(dense: nn.Module) -> dict[str, str]:
    """The path of the norm by that of the convolution, where it is all that reads the convolution's output."""
    modules = dict(dense.named_modules())
    ops = Operations(trace(dense), modules)
    found: dict[str, str] = {}
    for node in ops.graph.nodes:
        users = list(node.users)
        if ops.kind[node] == Kind.CONV and len(users) == 1 and ops.kind[users[0]] == Kind.NORM:
            norm: Any = modules[str(users[0].target)]
            if norm.running_mean is not None:
                found[str(node.target)] = str(users[0].target)
    # A norm behind two convolutions belongs to neither.
    norms = list(found.values())
    return {conv: norm for conv, norm in found.items() if norms.count(norm) == 1}


def through_norm(norm: Any, y: Tensor, channels: list[int]) -> Tensor:
    """What a norm in evaluation makes of some of its channels.

    Args:
        y: `(B, C, T, H, W)`.
        channels: C numbers of the norm's channels.
    """
    scale = torch.rsqrt(norm.running_var[channels] + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight[channels]
    shift = -norm.running_mean[channels] * scale
    if norm.bias is not None:
        shift = shift + norm.bias[channels]
    shape = (1, -1, *(1 for _ in y.shape[2:]))
    return torch.addcmul(shift.view(shape), y, scale.view(shape))
