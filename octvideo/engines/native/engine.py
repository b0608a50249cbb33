"""The engine ``native``: what it takes, and its kernels as the primitive."""

from collections.abc import Sequence

import torch
from torch import Tensor

from octvideo.engines.geometry import Geometry
from octvideo.engines.interface import Engine, Request, is_plain
from octvideo.engines.resample import needs_gradient
from octvideo.kernels import training
from octvideo.kernels.build import missing
from octvideo.kernels.convolve import SumOfConvolutions, is_supported

# In training, weights are laid out every step: with fewer pixels that costs more than is won.
_FEWEST_PIXELS = 512


class Sum:
    """A sum of convolutions (``octvideo.engines.interface.Sum``) and its epilogue in one pass."""

    def __init__(
        self,
        weights: Sequence[Tensor],
        bias: Tensor | None,
        geometries: Sequence[Geometry],
        *,
        transposed: bool = False,
    ) -> None:
        self.kernel = SumOfConvolutions(
            [_of_clip(weight) for weight in weights], bias, *_in_3d(geometries[0]), backwards=transposed
        )

    def __call__(
        self,
        inputs: Sequence[Tensor],
        *,
        residual: Tensor | None = None,
        up: Tensor | None = None,
        relu: bool = False,
        overwrite: bool = False,
        pool: bool = False,
        size: Sequence[int] = (),
    ) -> tuple[Tensor, Tensor | None]:
        if inputs[0].dim() == 5:
            return self.kernel(inputs, residual, up, relu=relu, overwrite=overwrite, pool=pool)
        clips = [x.unsqueeze(2) for x in inputs]
        residual, up = (None if x is None else x.unsqueeze(2) for x in (residual, up))
        y, pooled = self.kernel(clips, residual, up, relu=relu, overwrite=overwrite, pool=pool)
        return y.squeeze(2), None if pooled is None else pooled.squeeze(2)


def weight_gradient(grad: Tensor, x: Tensor, out: Tensor, geometry: Geometry) -> None:
    """Write a convolution's weight gradient into ``out (C_out, C_in, kT, kH, kW)``."""
    training.weight_gradient(grad, x, out, *_in_3d(geometry))


def _in_3d(geometry: Geometry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (1, *geometry.stride)[-3:], (0, *geometry.padding)[-3:]


def _of_clip(weight: Tensor) -> Tensor:
    return weight if weight.dim() == 5 else weight.unsqueeze(2)


def _unavailable_reason(request: Request) -> str | None:
    x, weights, geometries, trains, transposed = request
    if x.device.type != "cpu":
        return f"it runs on the CPU; the input is on {x.device}"
    if (reason := missing(weights[0].dtype)) is not None:
        return reason
    if not is_plain(x):
        return "the operations are traced or watched"
    if x.dtype != weights[0].dtype:
        return f"the input is {x.dtype}, the weight {weights[0].dtype}"
    if len({geometry[:3] for geometry in geometries}) > 1:
        return "its convolutions differ in stride"
    for weight, (stride, padding, dilation, groups) in zip(weights, geometries, strict=True):
        if not is_supported(weight, stride, padding, dilation, groups):
            return f"kernel {tuple(weight.shape[2:])}, stride {stride} or groups {groups} are not its own"
    if transposed and any(step > 1 for step in geometries[0].stride):
        return "it has no transposed convolution with a stride"
    if trains:
        return _why_not_trained(x, weights)
    return "it knows no gradient" if needs_gradient(x) else None


def _why_not_trained(x: Tensor, weights: Sequence[Tensor]) -> str | None:
    if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return "it trains in float32"
    if x.dim() != 5 or x.stride(1) != 1:
        return "it trains on channels-last clips"
    if x.numel() // x.shape[1] < _FEWEST_PIXELS:
        return f"the clip has fewer than {_FEWEST_PIXELS} pixels"
    if any(len(weight) % 8 for weight in weights):
        return "it trains layers whose output channels are a multiple of 8"
    return None


ENGINE = Engine("native", Sum, weight_gradient, _unavailable_reason, is_one_pass=True)
