"""Octave tensors: part of the channels at full, part at half the spatial resolution.

Octave convolution, Chen et al., ICCV 2019, https://arxiv.org/abs/1904.05049, section 3.2.

B batch, C channels, T frames, H height, W width. Time is never subsampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from octvideo.errors import InputError


class Octave(NamedTuple):
    """A feature map in two spatial frequencies; a group without channels is None.

    Args:
        high: ``(B, C_high, T, H, W)``, or ``(B, C_high, H, W)`` for images.
        low: ``(B, C_low, T, ceil(H / 2), ceil(W / 2))``, or without T for images.
    """

    high: Tensor | None
    low: Tensor | None


def split_channels(channels: int, alpha: float, multiple: int = 1) -> tuple[int, int]:
    """Number of high and of low channels: ``(channels - low, low)`` with ``low = int(alpha * channels)``.

    Args:
        channels: channels in all.
        alpha: share of low-frequency channels, in [0, 1].
        multiple: round the low group to the nearest multiple of this (at least one, and leaving at least one
            to the high group), for kernels that want full tiles. Layers with fewer than ``2 * multiple``
            channels keep ``int(alpha * channels)``. 1 is the paper's rule.

    Raises:
        ValueError: channels below 1, alpha outside [0, 1] or multiple below 1.

    Source: the authors' code takes ``int(alpha * channels)``.
    """
    if channels < 1:
        raise InputError(f"channels is {channels}; it must be at least 1")
    check_alpha("alpha", alpha)
    if multiple < 1:
        raise InputError(f"channel_multiple is {multiple}; it must be at least 1")
    low = int(alpha * channels)
    if multiple > 1 and 0 < alpha < 1 and channels >= 2 * multiple:
        largest = (channels - multiple) // multiple * multiple
        low = min(max(round(alpha * channels / multiple) * multiple, multiple), largest)
    return channels - low, low


def check_alpha(name: str, alpha: float) -> None:
    """Raise ValueError unless alpha is in [0, 1]."""
    if not 0 <= alpha <= 1:  # also refuses NaN
        raise InputError(f"{name} is {alpha}; it must be between 0 and 1")


@dataclass(frozen=True)
class ChannelSplit:
    """Which of a dense tensor's channels are high and which are low, by their dense index, in order.

    A convolution puts its high channels first; after a concatenation the low channels are those of each part.
    """

    high: tuple[int, ...]
    low: tuple[int, ...]

    @classmethod
    def high_first(cls, num_high: int, num_low: int) -> "ChannelSplit":
        """The paper's order: all high channels, then all low ones."""
        return cls(tuple(range(num_high)), tuple(range(num_high, num_high + num_low)))

    @classmethod
    def in_blocks(cls, num_high: int, num_low: int, blocks: int) -> "ChannelSplit":
        """The channels in ``blocks`` equal runs, each with its high channels first (grouped convolutions)."""
        high, low = num_high // blocks, num_low // blocks
        size = high + low
        return cls(
            tuple(b * size + i for b in range(blocks) for i in range(high)),
            tuple(b * size + high + i for b in range(blocks) for i in range(low)),
        )

    @classmethod
    def concatenate(cls, splits: Sequence["ChannelSplit"]) -> "ChannelSplit":
        high: list[int] = []
        low: list[int] = []
        offset = 0
        for split in splits:
            high += [offset + i for i in split.high]
            low += [offset + i for i in split.low]
            offset += split.channels
        return cls(tuple(high), tuple(low))

    def repeat_each(self, times: int) -> "ChannelSplit":
        """The split behind a depth-wise convolution with ``times`` outputs a channel."""
        return ChannelSplit(
            tuple(c * times + i for c in self.high for i in range(times)),
            tuple(c * times + i for c in self.low for i in range(times)),
        )

    @property
    def channels(self) -> int:
        return len(self.high) + len(self.low)

    @property
    def merge_order(self) -> tuple[int, ...]:
        """Where each dense channel is in ``cat([high, low])``."""
        position = {channel: i for i, channel in enumerate(self.high + self.low)}
        return tuple(position[c] for c in range(self.channels))
