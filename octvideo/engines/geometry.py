"""The sizes of a convolution apart from its weight's."""

from collections.abc import Sequence
from typing import NamedTuple


class Geometry(NamedTuple):
    """Stride, padding and dilation in T, H and W (in H and W for images), and groups: as for ``F.conv3d``."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    def out_size(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """``(T, H, W)`` of the result for an input of ``size`` and a ``kernel``, in frames and pixels."""
        axes = zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)

    def keeps_size(self, kernel: Sequence[int]) -> bool:
        """Whether padding makes up in H and W for what the kernel takes: the size changes by the stride alone."""
        axes = zip(self.padding[-2:], self.dilation[-2:], kernel[-2:], strict=True)
        return all(2 * p == d * (k - 1) for p, d, k in axes)
