"""Operations that treat every channel alike, on octave tensors: activation, dropout, pooling, merging.

B batch, C channels, T frames, H height, W width.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from octvideo.engines.resample import crop, downsample, upsample
from octvideo.layers.octave import Octave

Pair = tuple[int, ...]
# A pool's kernel, as it reaches with its dilation, stride and padding, in H and W.
PoolSizes = tuple[Pair, Pair, Pair]


def pool_sizes(kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> PoolSizes:
    """From a pool's arguments, which are numbers or tuples."""
    kernel, stride, padding, dilation = (
        tuple(value[-2:]) if isinstance(value, tuple | list) else (value, value)
        for value in (kernel, stride, padding, dilation)
    )
    return tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)), stride, padding


def sizes_of_pool(pool: Any) -> PoolSizes:
    """Of a max or average pool's module."""
    return pool_sizes(pool.kernel_size, pool.stride, pool.padding, getattr(pool, "dilation", 1))


class OctaveActivation(nn.Module):
    """An activation or dropout, applied to both frequencies: ``OctaveActivation(nn.ReLU())``."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Octave | Tensor) -> Octave | Tensor:
        if isinstance(x, Tensor):
            return self.activation(x)
        return Octave(*(None if part is None else self.activation(part) for part in x))


class OctavePool(nn.Module):
    """A max or average pool, applied to both frequencies: ``OctavePool(nn.MaxPool3d(...))``.

    The low output has half the high output's height and width, rounded up, for odd sizes too.
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.low_pool = rounding_up(pool)

    def forward(self, x: Octave | Tensor) -> Octave | Tensor:
        if isinstance(x, Tensor):
            return self.pool(x)
        high = None if x.high is None else self.pool(x.high)
        if high is None or x.low is None:
            return Octave(high, None if x.low is None else self.low_pool(x.low))
        low = self.low_pool(pad_to_half(x.low, high, sizes_of_pool(self.pool)))
        return Octave(high, crop_to_half(low, high))


def rounding_up(pool: nn.Module) -> nn.Module:
    """The pool for the low group: it keeps every border pixel that half of an odd high map may need."""
    pool = copy.copy(pool)
    pool.ceil_mode = True  # type: ignore[assignment]
    return pool


def pad_to_half(low: Tensor, high: Tensor, sizes: PoolSizes) -> Tensor:
    """The low map with its last pixels repeated where its pool, rounding up, would give too few of them.

    So it is for a pool of kernel 3 and stride 2 without padding that rounds up over 34 and over 17 pixels: it gives 17
    and 8.

    Args:
        low: ``(B, C_low, T, H, W)``, to be pooled and then cropped by ``crop_to_half``.
        high: the high map, pooled.
        sizes: the pool's.
    """
    missing = []
    for axis, kernel, stride, padding in zip((-2, -1), *sizes, strict=True):
        pixels, wanted = low.shape[axis] + 2 * padding - kernel, (high.shape[axis] + 1) // 2
        given = -(-pixels // stride) + 1
        if (given - 1) * stride >= low.shape[axis] + padding:
            given -= 1  # torch drops a window that starts behind the border
        missing.append(max((wanted - 1) * stride - pixels, 0) if given < wanted else 0)
    if not any(missing):
        return low
    return F.pad(low, (0, missing[1], 0, missing[0], *(0, 0)[: 2 * (low.dim() - 4)]), mode="replicate")


def crop_to_half(low: Tensor, high: Tensor) -> Tensor:
    """The low map cropped to half the height and width of the high one, rounded up, and to its frames."""
    if low.dim() == 5 and low.shape[2] != high.shape[2]:
        low = low[:, :, : high.shape[2]]  # rounding up is meant for pixels, not for frames
    return crop(low, ((high.shape[-2] + 1) // 2, (high.shape[-1] + 1) // 2))


def merge(high: Tensor, low: Tensor, order: Tensor | None = None, mode: str = "nearest") -> Tensor:
    """The dense tensor: low upsampled to the size of high, channels in the dense order.

    Args:
        high: ``(B, C_high, T, H, W)``.
        low: ``(B, C_low, T, ceil(H/2), ceil(W/2))``.
        order: where each dense channel is in ``cat([high, low])``; None if the high ones come first.
        mode: ``nearest`` or ``linear``.
    """
    return join(high, upsample(low, (high.shape[-2], high.shape[-1]), mode), order)


def join(high: Tensor, low: Tensor, order: Tensor | None = None) -> Tensor:
    """Two groups of channels of one size as one tensor, in the dense order."""
    x = torch.cat([high, low], 1)
    return x if order is None else x[:, order]


def split(x: Tensor, high: slice | Tensor, low: slice | Tensor) -> Octave:
    """A dense tensor as an octave one: the low group's channels averaged over 2x2 pixels."""
    return Octave(x[:, high], downsample(x[:, low]))
