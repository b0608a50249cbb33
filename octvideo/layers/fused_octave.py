"""Octave convolutions for inference: weights cut once, and what is behind the layer in its last convolutions.

B batch, C channels, T frames, H height, W width.
"""

import itertools
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from octvideo.layers.conv import OctaveConv2d, OctaveConv3d
from octvideo.layers.fused import FusedConv, behind, runs_own_kernel
from octvideo.layers.octave_sums import OctaveSums
from octvideo.layers.resample import add_upsampled, add_upsampled_, downsample, needs_gradient, upsample


class FusedOctaveConv(nn.Module):
    """An octave convolution of constant weights, with the addition and the ReLU behind it.

    What comes from the low input is computed first; the convolution over the high input then adds itself to it.

    Args:
        layer: the octave layer, both of whose high groups hold channels.

    Attributes:
        relu: whether a ReLU ends the high and the low output.
        overwrites: whether the memory of what is added to each may become the output's.
        takes_pooled: whether the layer reads its high input pooled.
        gives_pooled: whether the pooled high output is one more output.
    """

    def __init__(self, layer: OctaveConv2d | OctaveConv3d) -> None:
        super().__init__()
        self.out_channels = [len(rows) for rows in (layer.out_split.high, layer.out_split.low) if rows]
        self.stride = layer.spatial_stride
        self.pools = layer.resample_down == "avg_pool"
        self.resample_up = layer.resample_up
        self.relu = [False] * len(self.out_channels)
        self.overwrites = [False] * len(self.out_channels)
        self.gives_pooled = False
        self.takes_pooled = self.pools and (self.stride == 2 or ("low", "high") in layer.paths)
        self._own: dict[torch.dtype, OctaveSums | None] = {}
        # One convolution gives both outputs of the low input: they are of one size.
        both = layer.gives_both and bool(layer.in_split.low)
        # Likewise of the high input, its low output pooled behind (pooling commutes with kernels of one pixel), where
        # the kernels' whole vectors of channels make that the cheaper side.
        at_once = (
            layer.gives_both
            and self.pools
            and layer.kernel_size[-2:] == (1, 1)
            and _vectors(sum(self.out_channels)) <= _vectors(self.out_channels[0]) + self.out_channels[-1] / 4
        )
        alone = {
            (out, into): not (both if into == "low" else at_once) and (out, into) in layer.paths
            for out, into in itertools.product(("high", "low"), repeat=2)
        }
        once = 1 if self.pools else self.stride
        self.high_to_both = _path(layer, "both", "high", 1) if at_once else None
        self.low_to_both = _path(layer, "both", "low", 1) if both else None
        self.high_to_high = _path(layer, "high", "high", once) if alone["high", "high"] else None
        self.high_to_low = (
            _path(layer, "low", "high", 1 if self.pools else 2 * once) if alone["low", "high"] else None
        )
        self.low_to_high = _path(layer, "high", "low", 1) if alone["high", "low"] else None
        self.low_to_low = _path(layer, "low", "low", once) if alone["low", "low"] else None

    def forward(
        self,
        high: Tensor,
        low: Tensor | None = None,
        other_high: Tensor | None = None,
        other_low: Tensor | None = None,
        *,
        pooled: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Shapes as for ``OctaveConv3d``.

        Args:
            high, low: the layer's input.
            other_high, other_low: added to its outputs.
            pooled: ``downsample(high)``, where it is there already.
        """
        others = (other_high, other_low)[: len(self.out_channels)]
        if self.stride == 2 and self.pools:
            high, pooled = downsample(high) if pooled is None else pooled, None
        own = self._own_sums() if runs_own_kernel(high) and high.dim() == 5 else None
        if own is not None and self._fits(high, *others):
            outputs = own(high, low, pooled, others, self.relu, self.overwrites, self.gives_pooled)
        else:
            outputs = self._outputs(high, low, pooled, others)
            if self.gives_pooled:
                outputs = (*outputs, downsample(outputs[0]))
        return outputs if outputs[1:] else outputs[0]

    def _outputs(
        self, high: Tensor, low: Tensor | None, pooled: Tensor | None, others: Sequence[Tensor | None]
    ) -> tuple[Tensor, ...]:
        """The outputs by oneDNN, or by torch's operations."""
        to_high, to_low = self._from_low(low)
        by_operations = torch.compiler.is_compiling() or needs_gradient(high)
        if self.high_to_both is None and not by_operations and self._fits(high, *others):
            return self._fused(high, pooled, to_high, to_low, others)
        sums = self._sums(high, pooled, to_high, to_low)
        return tuple(behind(y, other, relu) for y, other, relu in zip(sums, others, self.relu, strict=True))

    def _fits(self, high: Tensor, other_high: Tensor | None, other_low: Tensor | None = None) -> bool:
        """Whether what is added has the outputs' shapes, and does not broadcast."""
        if other_high is None and other_low is None:
            return True
        batch, _, *time, height, width = cast(FusedConv, self.high_to_both or self.high_to_high).out_shape(
            high
        )
        channels = self.out_channels[0]
        low = (batch, self.out_channels[-1], *time, (height + 1) // 2, (width + 1) // 2)
        return (other_high is None or other_high.shape == (batch, channels, *time, height, width)) and (
            other_low is None or other_low.shape == low
        )

    def _own_sums(self) -> OctaveSums | None:
        """The layer in kernels of ours, for the weights' type; None where it has none on this machine's processor."""
        dtype = next(self.buffers()).dtype
        if dtype not in self._own:
            convs = [module for module in self.children() if isinstance(module, FusedConv)]
            fits = self.pools and self.resample_up == "nearest" and all(c.has_own_kernel() for c in convs)
            self._own = {dtype: self._make_sums() if fits else None}
        return self._own[dtype]

    def _make_sums(self) -> OctaveSums:
        names = ("high", "low")[: len(self.out_channels)]
        rows = dict(zip(names, torch.arange(sum(self.out_channels)).split(self.out_channels), strict=True))
        weights: dict[tuple[str, str], Tensor] = {}
        biases: dict[str, Tensor | None] = dict.fromkeys(names)
        for into, both in (("high", self.high_to_both), ("low", self.low_to_both)):
            for out in names:
                conv = both or getattr(self, f"{into}_to_{out}")
                if conv is None:
                    continue
                mine = rows[out] if both else slice(None)
                weights[out, into] = conv.weight[mine]
                if conv.bias is not None:
                    biases[out] = conv.bias[mine]
        high = cast(FusedConv, self.high_to_both or self.high_to_high)
        return OctaveSums(weights, biases, high.stride[0], high.padding, self.stride == 2)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_own": {}}  # made again where they are needed

    def _sums(
        self, high: Tensor, pooled: Tensor | None, to_high: Tensor | None, to_low: Tensor | None
    ) -> list[Tensor]:
        """The outputs, by operations of their own, which torch.compile makes one of."""
        if self.high_to_both is not None:
            high_out, low_out = self.high_to_both(high).split(self.out_channels, 1)
            low_out = downsample(low_out)
        else:
            high_out = cast(FusedConv, self.high_to_high)(high)
            low_out = None if self.high_to_low is None else self.high_to_low(self._pooled(high, pooled))
        if to_high is not None:
            same_size = self.stride == 2
            high_out = high_out + to_high if same_size else add_upsampled(high_out, to_high, self.resample_up)
        if to_low is not None:
            low_out = to_low if low_out is None else low_out + to_low
        return [high_out] if low_out is None else [high_out, low_out]

    def _fused(
        self,
        high: Tensor,
        pooled: Tensor | None,
        to_high: Tensor | None,
        to_low: Tensor | None,
        others: Sequence[Tensor | None],
    ) -> tuple[Tensor, ...]:
        """The outputs with what is behind them: each last convolution adds itself to the rest."""
        other_high, other_low = (*others, None)[:2]
        into, is_own = self._into_high(to_high, other_high, high)
        high_out = cast(FusedConv, self.high_to_high).convolve(
            high, into, relu=self.relu[0], overwrite=is_own
        )
        if len(self.out_channels) == 1:
            return (high_out,)
        if self.high_to_low is None:
            return high_out, behind(cast(Tensor, to_low), other_low, self.relu[1])
        into, is_own = other_low, self.overwrites[1]
        if to_low is not None:
            into = _dense(to_low) if into is None else into.add_(to_low) if is_own else to_low + into
            is_own = True
        low_out = self.high_to_low.convolve(
            self._pooled(high, pooled), into, relu=self.relu[1], overwrite=is_own
        )
        return high_out, low_out

    def _pooled(self, high: Tensor, pooled: Tensor | None) -> Tensor:
        return high if not self.pools else downsample(high) if pooled is None else pooled

    def _from_low(self, low: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if low is None:
            return None, None
        if self.low_to_both is not None:
            return self.low_to_both(low).split(self.out_channels, 1)
        to_high = None if self.low_to_high is None else self.low_to_high(low)
        if self.low_to_low is None:
            return to_high, None
        return to_high, self.low_to_low(downsample(low) if self.stride == 2 and self.pools else low)

    def _into_high(
        self, to_high: Tensor | None, other: Tensor | None, high: Tensor
    ) -> tuple[Tensor | None, bool]:
        """What the convolution over the high input adds itself to, and whether it may write over it."""
        mine = self.overwrites[0]
        if to_high is None:
            return other, mine
        if self.stride == 2:  # of one size already
            return to_high if other is None else other.add_(to_high) if mine else to_high + other, True
        if other is None:
            return _dense(upsample(to_high, (high.shape[-2], high.shape[-1]), self.resample_up)), True
        return (add_upsampled_ if mine else add_upsampled)(other, to_high, self.resample_up), True


def _path(layer: OctaveConv2d | OctaveConv3d, out: str, into: str, stride: int) -> FusedConv:
    return FusedConv(
        layer.weights()[out, into],
        layer.biases()[out, into],
        (*layer.stride[:-2], stride, stride),
        cast(tuple[int, ...], layer.padding),
        layer.dilation,
        layer._groups(into),
    )


def _dense(x: Tensor) -> Tensor:
    """``x`` in memory of its own, channels-last."""
    return x.contiguous(memory_format=torch.channels_last_3d if x.dim() == 5 else torch.channels_last)


def _vectors(channels: int) -> int:
    """The channels that a convolution kernel computes for so many: whole vectors of 16 numbers."""
    return -(-channels // 16) * 16
