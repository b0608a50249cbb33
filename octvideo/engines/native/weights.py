"""Weights in the order in which the kernels read and write them.

Blocks of output channels (problem.h: their size depends on the processor), the last of a multiple of 8, zeros for
those that are not there; within a block by T, H, W of the kernel, input channel and output channel; of bfloat16, pairs
of input channels together, the last with zeros where their number is odd.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from octvideo.engines.native.build import library, type_name
from octvideo.engines.native.problem import Layout, Three


def pack(weight: Tensor, *, backwards: bool = False) -> Tensor:
    """The numbers of a weight ``(C_out, C_in, kT, kH, kW)``.

    Args:
        weight: float32 or bfloat16.
        backwards: for the convolution that gives the gradient of the input: channels exchanged, pixels reversed.
    """
    weight = weight.detach()
    num_out, num_in, *kernel = weight.shape
    strides, pointer = list(weight.stride()), weight.data_ptr()
    if backwards:
        num_out, num_in, strides[:2] = num_in, num_out, strides[1::-1]
        last = sum((k - 1) * s for k, s in zip(kernel, strides[2:], strict=True))
        pointer += weight.element_size() * last
        strides[2:] = [-s for s in strides[2:]]
    in_memory = num_in + num_in % 2 if weight.dtype == torch.bfloat16 else num_in
    packed = weight.new_empty(rounded_up(num_out) * in_memory * kernel[0] * kernel[1] * kernel[2])
    _move("pack", packed, pointer, (num_out, num_in, *kernel), strides)
    return packed


def unpack(packed: Tensor, weight: Tensor) -> Tensor:
    """Write the numbers into a float32 weight, and return it."""
    _move("unpack", packed, weight.data_ptr(), weight.shape, weight.stride())
    return weight


def rounded_up(channels: int) -> int:
    """To whole eights."""
    return -(-channels // 8) * 8


def _move(name: str, packed: Tensor, pointer: int, shape: Sequence[int], strides: Sequence[int]) -> None:
    layout = Layout(
        pointer, packed.data_ptr(), *shape[:2], *strides[:2], Three(*shape[2:]), Three(*strides[2:]),
        torch.get_num_threads(),
    )  # fmt: skip
    getattr(library(), f"{name}_{type_name(packed.dtype)}")(ctypes.byref(layout))
