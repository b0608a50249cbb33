"""The gradient of a convolution's weight, in float32 on the CPU; that of its input is a sum of convolutions.

B batch, C channels, T frames, H height, W width.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from octvideo.engines.images import by_pixels, pixel_step
from octvideo.engines.native.build import library, shown
from octvideo.engines.native.checks import check_clip
from octvideo.engines.native.problem import Three, WeightGradient
from octvideo.engines.native.weights import unpack
from octvideo.errors import InputError


def weight_gradient(
    grad: Tensor, x: Tensor, out: Tensor, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Write a convolution's weight gradient into ``out``, and return it.

    Args:
        grad: of the convolution's output, ``(B, C_out, T, H, W)``.
        x: its input, ``(B, C_in, T, H, W)``.
        out: ``(C_out, C_in, kT, kH, kW)``, C_out a multiple of 8.

    Raises:
        InputError: one of the tensors has another rank, type, device or size, none included.
    """
    num_out, num_in, *kernel = out.shape
    check_clip("x", x, torch.float32, (None, num_in, None, None, None))
    axes = zip(x.shape[2:], padding, kernel, stride, strict=True)
    size = [(n + 2 * p - k) // s + 1 for n, p, k, s in axes]
    check_clip("grad", grad, torch.float32, (x.shape[0], num_out, *size))
    check_clip("out", out, torch.float32, tuple(out.shape))
    if num_out % 8:
        raise InputError(f"out has {num_out} output channels, allowed are multiples of 8")
    grad, x = by_pixels(grad), by_pixels(x)
    packed = torch.empty(out.numel())
    problem = WeightGradient(
        x.data_ptr(), grad.data_ptr(), packed.data_ptr(), pixel_step(x), pixel_step(grad), num_in, num_out,
        grad.shape[0], *grad.shape[2:], *x.shape[2:],
        Three(*kernel), Three(*padding), Three(*stride), torch.get_num_threads(),
    )  # fmt: skip
    with shown("octvideo::convolve_weight_gradient"):
        library().weight_gradient(ctypes.byref(problem))
    return unpack(packed, out)
