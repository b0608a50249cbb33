"""Operations that treat every channel alike, on octave tensors: activation, dropout, pooling, merging.

B batch, C channels, T frames, H height, W width.
"""

import copy

import torch
from torch import Tensor, nn

from octvideo.layers.octave import Octave
from octvideo.layers.resample import crop, downsample, upsample


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
        low = None if x.low is None else self.low_pool(x.low)
        return Octave(high, low if high is None or low is None else crop_to_half(low, high))


def rounding_up(pool: nn.Module) -> nn.Module:
    """The pool for the low group: it keeps every border pixel that half of an odd high map may need."""
    pool = copy.copy(pool)
    pool.ceil_mode = True  # type: ignore[assignment]
    return pool


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
