"""Spatial resampling by two, the octave layers' only one; time stays as it is.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from octvideo.engines.images import per_image

DOWNSAMPLE = ("avg_pool", "stride")
UPSAMPLE = ("nearest", "linear")


def downsample(x: Tensor, side: int = 2) -> Tensor:
    """Average over 2x2 pixels: ``(..., H, W)`` to ``(..., ceil(H / 2), ceil(W / 2))``; or over ``side`` x ``side``.

    At an odd border the average is over the pixels that exist (the authors' pooling: ceil mode, padding not
    counted).
    """
    if side > 2 or x.shape[-2] % 2 or x.shape[-1] % 2:
        return per_image(lambda y: F.avg_pool2d(y, side, ceil_mode=True, count_include_pad=False), x)
    return _Average.apply(x) if needs_gradient(x) else _average(x)


def fold(x: Tensor) -> Tensor:
    """Sums over 2x2 pixels: the adjoint of ``upsample``; at an odd border, over the pixels that exist."""
    return per_image(lambda y: F.avg_pool2d(y, 2, ceil_mode=True, divisor_override=1), x)


def num_averaged(x: Tensor, size: tuple[int, int]) -> float | Tensor:
    """How many pixels of a map of ``size`` (height, width) each average of ``downsample`` is over; of the type of x."""
    if not (size[0] % 2 or size[1] % 2):
        return 4.0
    rows, columns = (x.new_full((-(-n // 2),), 2.0) for n in size)
    for counts, n in ((rows, size[0]), (columns, size[1])):
        counts[n // 2 :] = 1.0  # no list of numbers: a device would be waited for
    return rows[:, None] * columns


def _average(x: Tensor) -> Tensor:
    if _is_compiling():
        # Sums of slices: the compiler's own averages of bfloat16 took five times as long in compiled networks.
        rows = x[..., ::2, :] + x[..., 1::2, :]
        return (rows[..., ::2] + rows[..., 1::2]) * 0.25
    return per_image(lambda y: F.avg_pool2d(y, 2), x)


class _Average(torch.autograd.Function):
    """2x2 averages whose gradient keeps nothing: torch's own keeps the input."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _average(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _repeat(grad * 0.25)


def needs_gradient(x: Tensor) -> bool:
    """Whether a gradient of one's own is of use: one is asked for, and nothing exports the operations."""
    return torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_exporting()


def upsample(x: Tensor, size: Sequence[int] | None = None, mode: str = "nearest") -> Tensor:
    """Double height and width, then crop to ``size``: an odd high map is one pixel smaller.

    Args:
        x: ``(B, C, T, H, W)`` or ``(B, C, H, W)``.
        size: height and width to crop to, in pixels; None keeps ``(2 H, 2 W)``.
        mode: ``nearest`` (the paper's) or ``linear``.
    """
    if mode == "nearest":
        y = _repeat(x)
    else:
        y = per_image(lambda z: F.interpolate(z, scale_factor=2.0, mode="bilinear", align_corners=False), x)
    return y if size is None else crop(y, size)


def add_upsampled(y: Tensor, z: Tensor, share: float = 1.0) -> Tensor:
    """``y + share * upsample(z)``, cropped to y, without writing the upsampled map where that is faster.

    Args:
        y: ``(B, C, T, H, W)`` or ``(B, C, H, W)``.
        z: the same at ``ceil(H / 2)``, ``ceil(W / 2)``.
        share: 1 where autograd watches.
    """
    if not _adds_pairs(y):
        return _plus(y, upsample(z, y.shape[-2:]), share)
    if share == 1 and (needs_gradient(y) or needs_gradient(z)):
        return _AddRepeated.apply(y, z)
    return _add_repeated(y, z, share)


def add_upsampled_(y: Tensor, z: Tensor, share: float = 1.0) -> Tensor:
    """``add_upsampled`` in the memory of ``y``, where no gradient is asked for."""
    if not _adds_pairs(y):
        return y.add_(upsample(z, y.shape[-2:]), alpha=share)
    _pairs(y).add_(_for_pairs(z), alpha=share)
    return y


def _repeat(x: Tensor) -> Tensor:
    if _is_compiling():  # interpolate would become a gather by computed indices
        pairs = _for_pairs(x)
        size = list(pairs.shape)
        size[-2] = size[-4] = 2
        return pairs.expand(size).flatten(-3, -2).flatten(-4, -3).movedim(-1, 1)
    return per_image(lambda y: F.interpolate(y, scale_factor=2.0, mode="nearest"), x)


def _add_repeated(y: Tensor, z: Tensor, share: float = 1.0) -> Tensor:
    return _plus(_pairs(y), _for_pairs(z), share).flatten(-3, -2).flatten(-4, -3).movedim(-1, 1)


def _plus(y: Tensor, z: Tensor, share: float) -> Tensor:
    return y + z if share == 1 else torch.add(y, z, alpha=share)


def _adds_pairs(y: Tensor) -> bool:
    """Whether pairs of pixels can be added to at once, and torch's kernel for that is vectorised."""
    is_slow = y.device.type == "cpu" and y.dtype != torch.float32 and not torch.compiler.is_compiling()
    return not (y.shape[-2] % 2 or y.shape[-1] % 2 or is_slow)


def _pairs(y: Tensor) -> Tensor:
    """A view ``(..., H/2, 2, W/2, 2, C)``."""
    return y.movedim(1, -1).unflatten(-3, (-1, 2)).unflatten(-2, (-1, 2))


def _for_pairs(z: Tensor) -> Tensor:
    """A view ``(..., H/2, 1, W/2, 1, C)``, which broadcasts over the pairs."""
    return z.movedim(1, -1).unsqueeze(-2).unsqueeze(-4)


class _AddRepeated(torch.autograd.Function):
    """``_add_repeated`` with the gradient of ``z`` by the pooling kernel: summing over the repeats is slow on CPUs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, z: Tensor) -> Tensor:
        return _add_repeated(y, z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return grad, fold(grad)


def _is_compiling() -> bool:
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """The top left ``size`` (height, width) pixels of ``x``."""
    height, width = size
    return x if x.shape[-2] == height and x.shape[-1] == width else x[..., :height, :width]
