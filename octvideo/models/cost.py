"""What a network costs: multiply-adds and parameters."""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_macs(model: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-adds of one forward pass: what the papers call FLOPs.

    Convolutions, linear layers and matrix products are counted, as they run; the rest is not.

    Args:
        model: any network; it is not changed.
        shape: of its input, ``(B, 3, T, H, W)`` say, in frames and pixels.
    """
    model = copy.deepcopy(model).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(tuple(shape), device="meta"))
    return counter.get_total_flops() // 2


def count_parameters(model: nn.Module) -> int:
    """Numbers that training changes.

    Args:
        model: any network; frozen parameters are not counted.
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
