"""The engine ``torch``: torch's own convolutions, on any device, of any size, traced, compiled, exported or watched.

Of a channels-last clip ``(B, C, T, H, W)``, a (1, k, k) convolution is a 2D one of the view ``(B * T, C, H, W)``, and a
(k, 1, 1) one of the view ``(B, C, T, H * W)``; the 2D kernels are the faster ones.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from octvideo.engines.geometry import Geometry
from octvideo.engines.images import as_clip, as_images, is_channels_last
from octvideo.engines.interface import Convolutions, Engine, Epilogue, Request, is_traced
from octvideo.engines.resample import add_upsampled, add_upsampled_, downsample, needs_gradient


class Sum:
    """A sum of convolutions (``octvideo.engines.interface.Sum``) that autograd and tracers can follow."""

    def __init__(self, convolutions: Convolutions) -> None:
        self.convolutions = convolutions

    def __call__(
        self, inputs: Sequence[Tensor], epilogue: Epilogue, size: Sequence[int]
    ) -> tuple[Tensor, Tensor | None]:
        weights, bias, geometries, transposed = self.convolutions
        y: Tensor | None = None
        for x, weight, geometry in zip(inputs, weights, geometries, strict=True):
            if transposed:
                part = input_gradient(x, weight, size, geometry)
            else:
                part = convolve(x, weight, bias if y is None else None, geometry)
            y = part if y is None else finish(y, Epilogue(residual=part))[0]
        assert y is not None
        return finish(y, epilogue)


def finish(y: Tensor, epilogue: Epilogue) -> tuple[Tensor, Tensor | None]:
    """``relu(y + share * upsample(up) + residual)`` and its averages; ``y`` is given up where nobody reads it."""
    y = _add(y, epilogue)
    return y, downsample(y) if epilogue.pool else None


def _add(y: Tensor, epilogue: Epilogue) -> Tensor:
    residual, up, relu, share = epilogue.residual, epilogue.up, epilogue.relu, epilogue.share
    if is_traced() or needs_gradient(y) or y.nbytes < y.untyped_storage().nbytes():
        # Part of a larger tensor: what comes behind wants one without gaps.
        y = y if up is None else add_upsampled(y, up, share)
        y = y if residual is None else y + residual
        return F.relu(y) if relu else y
    if up is not None:
        watched = torch.is_grad_enabled() and up.requires_grad
        y = (add_upsampled if watched else add_upsampled_)(y, up, share)
    if residual is not None:
        fits = torch.broadcast_shapes(y.shape, residual.shape) == y.shape and not needs_gradient(residual)
        y = y.add_(residual) if fits else y + residual
    return y.relu_() if relu and not needs_gradient(y) else F.relu(y) if relu else y


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """``conv2d`` or ``conv3d`` by the input's rank; in two dimensions where that is the same and needs no copy."""
    kind = flat_kind(x, weight.shape, geometry)
    weight, sizes = flat_sizes(weight, geometry, kind)
    if kind is not None:
        return as_clip(F.conv2d(as_images(x, kind), weight, bias, *sizes), kind, x)
    y = (F.conv2d if x.dim() == 4 else F.conv3d)(x, weight, bias, *sizes)
    if x.dim() == 5 and x.device.type == "cpu" and not is_traced() and is_channels_last(x):
        # Of few pixels the CPU makes a contiguous map, which all that follow would be.
        y = y.contiguous(memory_format=torch.channels_last_3d)
    return y


def input_gradient(grad: Tensor, weight: Tensor, size: Sequence[int], geometry: Geometry) -> Tensor:
    """Of the input of a convolution, ``(B, C_in, *size)``, from that of its output."""
    return _backward(grad, None, weight, size, geometry)


def weight_gradient(grad: Tensor, x: Tensor, out: Tensor, geometry: Geometry) -> None:
    """Write a convolution's weight gradient into ``out (C_out, C_in / groups, kT, kH, kW)``."""
    like = out if out.dtype == grad.dtype else torch.empty_like(out, dtype=grad.dtype)  # autocast ran it
    out.copy_(_backward(grad, x, like, x.shape[2:], geometry))


def _backward(
    grad: Tensor, x: Tensor | None, weight: Tensor, size: Sequence[int], geometry: Geometry
) -> Tensor:
    """The weight's gradient where the input is given, else the input's."""
    wants_weight = x is not None
    if x is None:  # torch asks the input for its shape and layout alone
        layout = torch.channels_last_3d if grad.dim() == 5 else torch.channels_last
        layout = layout if grad.stride(1) == 1 else torch.contiguous_format
        shape = (len(grad), weight.shape[1] * geometry.groups, *size)
        x = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=layout)
    kind = flat_kind(x, weight.shape, geometry)
    flat, sizes = flat_sizes(weight, geometry, kind)
    images, image_grad = (x, grad) if kind is None else (as_images(x, kind), as_images(grad, kind))
    found_x, found_weight, _ = torch.ops.aten.convolution_backward(
        image_grad, images, flat, None, *sizes[:3], False, [0] * len(sizes[0]), sizes[3],
        (not wants_weight, wants_weight, False),
    )  # fmt: skip
    if wants_weight:
        return found_weight.view(weight.shape)
    return found_x if kind is None else as_clip(found_x, kind, x)


def flat_kind(x: Tensor, weight_shape: Sequence[int], geometry: Geometry) -> str | None:
    """``space`` or ``time`` where the convolution of a clip is a 2D one of a view; None where it is not."""
    if x.dim() == 4 or not is_channels_last(x):
        return None
    stride, padding = geometry.stride, geometry.padding
    if weight_shape[2] == stride[0] == 1 and padding[0] == 0:
        return "space"
    in_time = tuple(weight_shape[3:]) == tuple(stride[1:]) == (1, 1) and tuple(padding[1:]) == (0, 0)
    return "time" if in_time and (x.dtype != torch.float32 or _is_slow_in_3d(x)) else None


def flat_sizes(weight: Tensor, geometry: Geometry, kind: str | None) -> tuple[Tensor, Geometry]:
    """Weight and geometry of that 2D convolution."""
    stride, padding, dilation, groups = geometry
    if kind == "space":
        return weight.squeeze(2), Geometry(stride[1:], padding[1:], dilation[1:], groups)
    if kind == "time":
        return weight.squeeze(-1), Geometry((stride[0], 1), (padding[0], 0), (dilation[0], 1), groups)
    return weight, geometry


def _is_slow_in_3d(x: Tensor) -> bool:
    """Whether torch leaves a 3D convolution of this input to its unvectorised kernel on the CPU.

    Source: ``use_mkldnn`` in torch's ``aten/src/ATen/native/Convolution.cpp``: one clip of few numbers.
    """
    return x.device.type == "cpu" and x.shape[0] == 1 and x.shape[1] * x.shape[2] * x.shape[3] <= 20480


def _unavailable_reason(request: Request) -> None:
    """There is always torch."""


ENGINE = Engine("torch", Sum, weight_gradient, _unavailable_reason)
