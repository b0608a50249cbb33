"""A convolution and its gradients, for training in float32 on the CPU.

B batch, C channels, T frames, H height, W width.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from octvideo.kernels.build import library, runs_plainly, shown
from octvideo.kernels.convolve import SumOfConvolutions, by_pixels, is_supported, pixel_step
from octvideo.kernels.problem import Three, WeightGradient
from octvideo.kernels.weights import unpack

_FEWEST_PIXELS = 512


def trains(
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> bool:
    """Whether the kernels do this convolution and its gradients, here: of a channels-last clip of some size.

    With few pixels, laying out the weight costs more than is won.
    """
    return (
        runs_plainly(x)  # first: what is traced must not be asked for its size
        and x.dim() == 5
        and x.dtype == weight.dtype == torch.float32
        and x.stride(1) == 1
        and x.shape[0] * x.shape[2] * x.shape[3] * x.shape[4] >= _FEWEST_PIXELS
        and not weight.shape[0] % 8
        and is_supported(weight, stride, padding, dilation, groups)
        and not torch.is_autocast_enabled("cpu")
    )


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """``conv3d``: ``(B, C_in, T, H, W)`` to ``(B, C_out, T, H, W)``, channels-last."""
    return SumOfConvolutions([weight], bias, stride, padding)([x])[0]


def input_gradient(
    grads: Sequence[Tensor], weights: Sequence[Tensor], padding: Sequence[int], up: Tensor | None = None
) -> Tensor:
    """Of one or two convolutions of the same input, with stride 1: ``(B, C_in, T, H, W)``, channels-last.

    Args:
        grads: of their outputs, ``(B, C_out, T, H, W)``.
        weights: theirs.
        up: added, every pixel four times; at half the size, rounded up.
    """
    return SumOfConvolutions(weights, None, (1, 1, 1), padding, backwards=True)(grads, up=up)[0]


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
