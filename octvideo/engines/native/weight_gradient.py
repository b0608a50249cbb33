"""The gradient of a convolution's weight, in float32 on the CPU.

B batch, C channels, T frames, H height, W width.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from octvideo.engines.native.build import library, shown
from octvideo.engines.native.convolve import by_pixels, pixel_step
from octvideo.engines.native.problem import Three, WeightGradient
from octvideo.engines.native.weights import unpack


def weight_gradient(
    grad: Tensor, x: Tensor, out: Tensor, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Write a convolution's weight gradient into ``out``, and return it.

    Args:
        grad: of the convolution's output, ``(B, C_out, T, H, W)``.
        x: its input, ``(B, C_in, T, H, W)``.
        out: ``(C_out, C_in, kT, kH, kW)``.
    """
    grad, x = by_pixels(grad), by_pixels(x)
    num_out, num_in, *kernel = out.shape
    packed = torch.empty(out.numel())
    problem = WeightGradient(
        x.data_ptr(), grad.data_ptr(), packed.data_ptr(), pixel_step(x), pixel_step(grad), num_in, num_out,
        grad.shape[0], *grad.shape[2:], *x.shape[2:],
        Three(*kernel), Three(*padding), Three(*stride), torch.get_num_threads(),
    )  # fmt: skip
    with shown("octvideo::convolve_weight_gradient"):
        library().weight_gradient(ctypes.byref(problem))
    return unpack(packed, out)
