"""Inception-I3D: https://arxiv.org/abs/1705.07750, figure 3; the layers' names are those of DeepMind's kinetics-i3d.

B batch, C channels, T frames, H height, W width.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from octvideo.models.pathways import HeadPool

# Channels of each branch's convolutions: 1x1; 1x1 and 3x3; 1x1 and 3x3; 1x1 behind a pool.
_MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    "mixed_3b": (64, 96, 128, 16, 32, 32),
    "mixed_3c": (128, 128, 192, 32, 96, 64),
    "mixed_4b": (192, 96, 208, 16, 48, 64),
    "mixed_4c": (160, 112, 224, 24, 64, 64),
    "mixed_4d": (128, 128, 256, 24, 64, 64),
    "mixed_4e": (112, 144, 288, 32, 64, 64),
    "mixed_4f": (256, 160, 320, 32, 128, 128),
    "mixed_5b": (256, 160, 320, 32, 128, 128),
    "mixed_5c": (384, 192, 384, 48, 128, 128),
}
# The pools before them: name, kernel, stride.
_POOLS = {
    "mixed_3b": ("pool_3a", (1, 3, 3), (1, 2, 2)),
    "mixed_4b": ("pool_4a", (3, 3, 3), (2, 2, 2)),
    "mixed_5b": ("pool_5a", (2, 2, 2), (2, 2, 2)),
}


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and behind by TensorFlow's rule "SAME", which gives ``ceil(size / stride)`` of them.

    What is odd goes behind, so at stride 2 an even size is padded by other numbers than an odd one.

    Source: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2

    Example:
        >>> same_padding(224, 7, 2), same_padding(225, 7, 2)
        ((2, 3), (3, 3))
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SamePad(nn.Module):
    """Zeros around a clip, by TensorFlow's rule "SAME" for the convolution behind: ``(B, C, T, H, W)`` in and out."""

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        before_behind = [same_padding(size, self.kernel_size, self.stride) for size in reversed(x.shape[2:])]
        return F.pad(x, [pixels for pair in before_behind for pixels in pair])


class SameMaxPool3d(nn.MaxPool3d):
    """A max pool padded by TensorFlow's rule "SAME": its window at the end may reach over the border.

    ``(B, C, T, H, W)`` to ``(B, C, ceil(T / stride), ceil(H / stride), ceil(W / stride))``.
    """

    def forward(self, x: Tensor) -> Tensor:
        before = [
            same_padding(size, kernel, stride)[0]
            for size, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True)  # type: ignore[arg-type]
        ]
        return F.max_pool3d(x, self.kernel_size, self.stride, before, ceil_mode=True)


class Unit(nn.Sequential):
    """Convolution, norm, ReLU. At stride 1 "SAME" is the same number before and behind."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        if stride > 1:
            self.pad = SamePad(kernel, stride)
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv3d(channels, out, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(out, eps=1e-3)
        self.relu = nn.ReLU(inplace=True)


class Mixed(nn.Module):
    """An Inception module: four branches, one behind another in their channels."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        one, two_a, two_b, three_a, three_b, four = widths
        self.branch_0 = Unit(channels, one, 1)
        self.branch_1 = nn.Sequential(Unit(channels, two_a, 1), Unit(two_a, two_b, 3))
        self.branch_2 = nn.Sequential(Unit(channels, three_a, 1), Unit(three_a, three_b, 3))
        self.branch_3 = nn.Sequential(nn.MaxPool3d(3, stride=1, padding=1), Unit(channels, four, 1))
        self.out_channels = one + two_b + three_b + four

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch_0(x), self.branch_1(x), self.branch_2(x), self.branch_3(x)], 1)


class InceptionI3d(nn.Module):
    """Inception-v1 inflated along time: ``(B, 3, T, H, W)``, T at least 2, to logits ``(B, num_classes)``.

    The head averages over windows of 2 frames and 7 x 7 pixels, cut to inputs that are smaller, and takes the mean of
    the windows' logits, which is that of their averages. The norms' scales, which the published weights have not, are
    there, as in every other network.
    """

    def __init__(self, num_classes: int = 400, dropout_rate: float = 0.5) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {
            "conv_1a": Unit(3, 64, 7, 2),
            "pool_2a": SameMaxPool3d((1, 3, 3), (1, 2, 2)),
            "conv_2b": Unit(64, 64, 1),
            "conv_2c": Unit(64, 192, 3),
        }
        channels = 192
        for name, widths in _MIXED.items():
            if name in _POOLS:
                pool, kernel, stride = _POOLS[name]
                layers[pool] = SameMaxPool3d(kernel, stride)
            layers[name] = mixed = Mixed(channels, widths)
            channels = mixed.out_channels
        self.features = nn.Sequential(OrderedDict(layers))
        self.pool = HeadPool((2, 7, 7), stride=1)
        self.dropout = nn.Dropout(dropout_rate)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.pool(self.features(x)).mean((2, 3, 4))))
