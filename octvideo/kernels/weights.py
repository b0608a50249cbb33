"""Weights in the order in which the kernels read and write them.

Blocks of 64 output channels, the last of a multiple of 8, zeros for those that are not there; within a block by T, H, W
of the kernel, input channel and output channel; of bfloat16, pairs of input channels together, the last with zeros
where their number is odd.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from octvideo.kernels.build import library

_Three = ctypes.c_int64 * 3


class _Layout(ctypes.Structure):
    """The same as in weights.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "packed")),
        *((name, ctypes.c_int64) for name in ("out_channels", "in_channels", "out_stride", "in_stride")),
        *((name, _Three) for name in ("kernel", "kernel_stride")),
        ("threads", ctypes.c_int64),
    )


def pack(weight: Tensor, *, backwards: bool = False) -> Tensor:
    """The numbers of a weight ``(C_out, C_in, kT, kH, kW)``.

    Args:
        weight: float32 or bfloat16.
        backwards: for the convolution that gives the gradient of the input: channels exchanged, pixels reversed.
    """
    weight = weight.detach()
    if weight.dtype == torch.bfloat16:
        return _pack_pairs(weight.transpose(0, 1).flip(2, 3, 4) if backwards else weight)
    num_out, num_in, *kernel = weight.shape
    strides, pointer = list(weight.stride()), weight.data_ptr()
    if backwards:
        num_out, num_in, strides[:2] = num_in, num_out, strides[1::-1]
        last = sum((k - 1) * s for k, s in zip(kernel, strides[2:], strict=True))
        pointer += weight.element_size() * last
        strides[2:] = [-s for s in strides[2:]]
    packed = torch.empty(rounded_up(num_out) * num_in * kernel[0] * kernel[1] * kernel[2])
    _move("pack", packed, pointer, (num_out, num_in, *kernel), strides)
    return packed


def unpack(packed: Tensor, weight: Tensor) -> Tensor:
    """Write the numbers into a float32 weight, and return it."""
    _move("unpack", packed, weight.data_ptr(), weight.shape, weight.stride())
    return weight


def rounded_up(channels: int) -> int:
    """To whole halves of vectors."""
    return -(-channels // 8) * 8


def _move(name: str, packed: Tensor, pointer: int, shape: Sequence[int], strides: Sequence[int]) -> None:
    layout = _Layout(
        pointer, packed.data_ptr(), *shape[:2], *strides[:2], _Three(*shape[2:]), _Three(*strides[2:]),
        torch.get_num_threads(),
    )  # fmt: skip
    getattr(library("weights", torch.float32), name)(ctypes.byref(layout))


def _pack_pairs(weight: Tensor) -> Tensor:
    num_out, num_in, *_ = weight.shape
    pairs, padded = (num_in + 1) // 2, rounded_up(num_out)
    by_tap = torch.nn.functional.pad(weight, (0, 0) * 3 + (0, num_in % 2, 0, padded - num_out))
    by_tap = by_tap.permute(2, 3, 4, 1, 0).reshape(-1, pairs, 2, padded).transpose(-1, -2)
    return torch.cat([block.flatten() for block in by_tap.split(64, 2)])
