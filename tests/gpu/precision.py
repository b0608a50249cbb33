"""How far a result on a GPU may be from the same in float64 on the CPU, as ||found - expected|| / ||expected||."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# A layer's: sums of a few hundred products. bfloat16 keeps 8 bits, so a number is off by 1/512 at most.
LAYER = {torch.float32: 2e-5, torch.bfloat16: 1e-2}


def distance(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """Of all tensors taken as one; what is not finite is infinitely far."""
    difference = size = 0.0
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        difference += float((one.detach().double().cpu() - other.detach().double().cpu()).square().sum())
        size += float(other.detach().double().cpu().square().sum())
    distance = (difference / size) ** 0.5
    return distance if distance == distance else float("inf")


@contextmanager
def whole_float32() -> Iterator[None]:
    """float32 means float32: cuDNN would take 10 bits of its fractions (TF32) otherwise."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
