"""The engine ``native``: what it takes, and its kernels as the primitive."""

from collections.abc import Sequence

import torch
from torch import Tensor

from octvideo.engines.geometry import Geometry
from octvideo.engines.interface import Convolutions, Engine, Epilogue, Request, is_plain
from octvideo.engines.native import weight_gradient as gradient_kernel
from octvideo.engines.native.build import missing
from octvideo.engines.native.convolve import SumOfConvolutions, is_supported
from octvideo.engines.resample import needs_gradient

# In training, weights are laid out every step: with fewer pixels that costs more than is won.
_FEWEST_PIXELS = 512


class Sum:
    """A sum of convolutions (``octvideo.engines.interface.Sum``) and its epilogue in one pass."""

    def __init__(self, convolutions: Convolutions) -> None:
        weights, bias, geometries, transposed = convolutions
        self.kernel = SumOfConvolutions(
            [weight if weight.dim() == 5 else weight.unsqueeze(2) for weight in weights],
            bias,
            *_in_3d(geometries[0]),
            backwards=transposed,
        )

    def __call__(
        self, inputs: Sequence[Tensor], epilogue: Epilogue, size: Sequence[int]
    ) -> tuple[Tensor, Tensor | None]:
        residual, up, relu, overwrite, pool, _ = epilogue.shared()
        if inputs[0].dim() == 5:
            return self.kernel(inputs, residual, up, relu=relu, overwrite=overwrite, pool=pool)
        clips = [x.unsqueeze(2) for x in inputs]
        residual, up = (None if x is None else x.unsqueeze(2) for x in (residual, up))
        y, pooled = self.kernel(clips, residual, up, relu=relu, overwrite=overwrite, pool=pool)
        return y.squeeze(2), None if pooled is None else pooled.squeeze(2)


def weight_gradient(grad: Tensor, x: Tensor, out: Tensor, geometry: Geometry) -> None:
    """Write a convolution's weight gradient into ``out (C_out, C_in, kT, kH, kW)``."""
    gradient_kernel.weight_gradient(grad, x, out, *_in_3d(geometry))


def _in_3d(geometry: Geometry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (1, *geometry.stride)[-3:], (0, *geometry.padding)[-3:]


def _unavailable_reason(request: Request) -> str | None:
    x, weight, rows, geometries, trains, transposed = request
    if x.device.type != "cpu":
        return f"it runs on the CPU; the input is on {x.device}"
    if (reason := missing(weight.dtype)) is not None:
        return reason
    if not is_plain(x):
        return "the operations are traced or watched"
    if x.dtype != weight.dtype:
        return f"the input is {x.dtype}, the weight {weight.dtype}"
    if len(set(geometries)) > 1:
        return "its convolutions differ in stride or groups"
    stride, padding, dilation, groups = geometries[0]
    if not is_supported(weight, stride, padding, dilation, groups):
        return f"kernel {tuple(weight.shape[2:])}, stride {stride} or groups {groups} are not its own"
    if transposed and any(step > 1 for step in stride):
        return "it has no transposed convolution with a stride"
    if trains:
        return _why_not_trained(x, rows)
    return "it knows no gradient" if needs_gradient(x) else None


def _why_not_trained(x: Tensor, rows: Sequence[int]) -> str | None:
    if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return "it trains in float32"
    if x.dim() != 5 or x.stride(1) != 1:
        return "it trains on channels-last clips"
    if x.numel() // x.shape[1] < _FEWEST_PIXELS:
        return f"the clip has fewer than {_FEWEST_PIXELS} pixels"
    if any(count % 8 for count in rows):
        return "it trains layers whose output channels are a multiple of 8"
    return None


ENGINE = Engine("native", Sum, weight_gradient, _unavailable_reason, is_one_pass=True)
