"""Convolutions for inference: weights laid out once, and the addition and ReLU behind them in the same pass.

B batch, C channels, T frames, H height, W width.
"""

import itertools
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from octvideo.layers.conv import OctaveConv2d, OctaveConv3d
from octvideo.layers.flat import flat_kind, flat_sizes
from octvideo.layers.images import as_clip, as_images
from octvideo.layers.resample import add_upsampled, downsample, upsample


def _kernel_dtypes() -> tuple[torch.dtype, ...]:
    """What oneDNN convolves here: bfloat16 needs AVX-512."""
    if not torch.backends.mkldnn.is_available():
        return ()
    has_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if has_bfloat16 else (torch.float32,)


_DTYPES = _kernel_dtypes()


class FusedConv(nn.Module):
    """``relu(conv(x) + other)`` with constant weights; the addition and the ReLU may be left out.

    On the CPU this is one oneDNN kernel, the one that ``torch.compile`` calls too, on weights that were put into
    its layout once. Everywhere else, and where a gradient is asked for, it is the plain operations.

    Args:
        weight: ``(C_out, C_in / groups, kT, kH, kW)``, or without kT for images.
        bias: ``(C_out,)`` or None.
        stride, padding, dilation, groups: as for ``F.conv3d``, tuples.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...],
        groups: int,
    ) -> None:
        super().__init__()
        layout = torch.channels_last_3d if weight.dim() == 5 else torch.channels_last
        self.register_buffer("weight", weight.detach().contiguous(memory_format=layout))
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.relu = False
        # Weights in oneDNN's layout and the sizes with them, by the kind of view and the type.
        self._packed: dict[Any, tuple[Any, ...]] = {}

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """``x`` and ``other`` are ``(B, C, T, H, W)`` or ``(B, C, H, W)``."""
        if other is None or other.shape == self.out_shape(x):
            return self.convolve(x, other, relu=self.relu)
        return _behind(self.convolve(x), other, self.relu)  # other broadcasts

    def out_shape(self, x: Tensor) -> tuple[int, ...]:
        """Of the convolution of ``x``."""
        axes = zip(x.shape[2:], self.weight.shape[2:], self.stride, self.padding, self.dilation, strict=True)
        size = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)
        return (x.shape[0], self.weight.shape[0], *size)

    def convolve(
        self, x: Tensor, other: Tensor | None = None, *, relu: bool = False, overwrite: bool = False
    ) -> Tensor:
        """``relu(conv(x) + other)`` for ``other`` of the output's shape, whose memory ``overwrite`` gives up."""
        kind = flat_kind(x, self.weight.shape, self.stride, self.padding)
        if kind is None:
            return self._run(x, other, relu, overwrite, None)
        images = None if other is None else as_images(other, kind)
        return as_clip(self._run(as_images(x, kind), images, relu, overwrite, kind), kind, x)

    def _run(self, x: Tensor, other: Tensor | None, relu: bool, overwrite: bool, kind: str | None) -> Tensor:
        if self._has_kernel(x):
            return self._run_kernel(x, other, relu, overwrite, kind)
        weight, stride, padding, dilation = flat_sizes(
            self.weight, self.stride, self.padding, self.dilation, kind
        )
        conv = F.conv2d if x.dim() == 4 else F.conv3d
        return _behind(conv(x, weight, self.bias, stride, padding, dilation, self.groups), other, relu)

    def _run_kernel(
        self, x: Tensor, other: Tensor | None, relu: bool, overwrite: bool, kind: str | None
    ) -> Tensor:
        kernels = torch.ops.mkldnn
        sizes = self._packed.get((kind, self.weight.dtype))
        if sizes is None:
            weight, stride, padding, dilation = flat_sizes(
                self.weight, self.stride, self.padding, self.dilation, kind
            )
            packed = kernels._reorder_convolution_weight(
                weight.contiguous(), padding, stride, dilation, self.groups, x.shape
            )
            sizes = (packed, self.bias, padding, stride, dilation, self.groups)
            self._packed = {(kind, weight.dtype): sizes}
        if other is None:
            return kernels._convolution_pointwise(x, *sizes, "relu" if relu else "none", [], "")
        if self.groups > 1:  # oneDNN adds behind ungrouped convolutions only
            return _behind(kernels._convolution_pointwise(x, *sizes, "none", [], ""), other, relu)
        behind: tuple[Any, ...] = ("add", 1.0, "relu" if relu else None, [], None)
        if overwrite:
            return kernels._convolution_pointwise_.binary(other, x, *sizes, *behind)
        return kernels._convolution_pointwise.binary(x, other, *sizes, *behind)

    def _has_kernel(self, x: Tensor) -> bool:
        if torch.compiler.is_compiling():  # torch.compile fuses and lays out by itself
            return False
        wants_gradient = torch.is_grad_enabled() and x.requires_grad
        return x.device.type == "cpu" and x.dtype in _DTYPES and not wants_gradient

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": {}}  # oneDNN's layout cannot be copied or saved


class FusedOctaveConv(nn.Module):
    """An octave convolution of constant weights, with the addition and the ReLU behind it.

    What comes from the low input is computed first; the convolution over the high input then adds itself to it.

    Args:
        layer: the octave layer, both of whose high groups hold channels.

    ``relu`` says whether a ReLU ends the high and the low output.
    """

    def __init__(self, layer: OctaveConv2d | OctaveConv3d) -> None:
        super().__init__()
        self.out_channels = [len(rows) for rows in (layer.out_split.high, layer.out_split.low) if rows]
        self.stride = layer.spatial_stride
        self.pools = layer.resample_down == "avg_pool"
        self.resample_up = layer.resample_up
        self.relu = [False] * len(self.out_channels)
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
    ) -> Tensor | tuple[Tensor, ...]:
        """Shapes as for ``OctaveConv3d``; ``other_high`` and ``other_low`` are added to its outputs."""
        if self.stride == 2 and self.pools:
            high = downsample(high)
        to_high, to_low = self._from_low(low)
        others = (other_high, other_low)[: len(self.out_channels)]
        if self.high_to_both is None and not torch.compiler.is_compiling() and self._fits(high, *others):
            return self._fused(high, to_high, to_low, other_high, other_low)
        sums = self._sums(high, to_high, to_low)
        parts = tuple(_behind(y, other, relu) for y, other, relu in zip(sums, others, self.relu, strict=True))
        return parts if self.out_channels[1:] else parts[0]

    def _fits(self, high: Tensor, other_high: Tensor | None, other_low: Tensor | None = None) -> bool:
        """Whether what is added has the outputs' shapes, and does not broadcast."""
        if other_high is None and other_low is None:
            return True
        batch, channels, *time, height, width = cast(FusedConv, self.high_to_high).out_shape(high)
        low = (batch, self.out_channels[-1], *time, (height + 1) // 2, (width + 1) // 2)
        return (other_high is None or other_high.shape == (batch, channels, *time, height, width)) and (
            other_low is None or other_low.shape == low
        )

    def _sums(self, high: Tensor, to_high: Tensor | None, to_low: Tensor | None) -> list[Tensor]:
        """The outputs, by operations of their own, which torch.compile makes one of."""
        if self.high_to_both is not None:
            high_out, low_out = self.high_to_both(high).split(self.out_channels, 1)
            low_out = downsample(low_out)
        else:
            high_out = cast(FusedConv, self.high_to_high)(high)
            low_out = None if self.high_to_low is None else self.high_to_low(self._pooled(high))
        if to_high is not None:
            same_size = self.stride == 2
            high_out = high_out + to_high if same_size else add_upsampled(high_out, to_high, self.resample_up)
        if to_low is not None:
            low_out = to_low if low_out is None else low_out + to_low
        return [high_out] if low_out is None else [high_out, low_out]

    def _fused(
        self,
        high: Tensor,
        to_high: Tensor | None,
        to_low: Tensor | None,
        other_high: Tensor | None,
        other_low: Tensor | None,
    ) -> Tensor | tuple[Tensor, ...]:
        """The outputs with what is behind them: each last convolution adds itself to the rest."""
        into = self._into_high(to_high, other_high, high)
        high_out = cast(FusedConv, self.high_to_high).convolve(
            high, into, relu=self.relu[0], overwrite=into is not other_high
        )
        if len(self.out_channels) == 1:
            return high_out
        if self.high_to_low is None:
            return high_out, _behind(cast(Tensor, to_low), other_low, self.relu[1])
        if to_low is None:
            into = other_low
        else:
            into = _dense(to_low) if other_low is None else to_low + other_low
        low_out = self.high_to_low.convolve(
            self._pooled(high), into, relu=self.relu[1], overwrite=into is not other_low
        )
        return high_out, low_out

    def _pooled(self, high: Tensor) -> Tensor:
        return downsample(high) if self.pools else high

    def _from_low(self, low: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if low is None:
            return None, None
        if self.low_to_both is not None:
            return self.low_to_both(low).split(self.out_channels, 1)
        to_high = None if self.low_to_high is None else self.low_to_high(low)
        if self.low_to_low is None:
            return to_high, None
        return to_high, self.low_to_low(downsample(low) if self.stride == 2 and self.pools else low)

    def _into_high(self, to_high: Tensor | None, other: Tensor | None, high: Tensor) -> Tensor | None:
        """What the convolution over the high input adds itself to: memory of its own, unless it is ``other``."""
        if to_high is None:
            return other
        if self.stride == 2:  # of one size already
            return to_high if other is None else to_high + other
        if other is None:
            return _dense(upsample(to_high, (high.shape[-2], high.shape[-1]), self.resample_up))
        return add_upsampled(other, to_high, self.resample_up)


def _path(layer: OctaveConv2d | OctaveConv3d, out: str, into: str, stride: int) -> FusedConv:
    return FusedConv(
        layer.weights()[out, into],
        layer.biases()[out, into],
        (*layer.stride[:-2], stride, stride),
        cast(tuple[int, ...], layer.padding),
        layer.dilation,
        len(getattr(layer.in_split, into)) if layer.depthwise else layer.groups,
    )


def _behind(y: Tensor, other: Tensor | None, relu: bool) -> Tensor:
    y = y if other is None else y + other
    return F.relu(y) if relu else y


def _dense(x: Tensor) -> Tensor:
    """``x`` in memory of its own, channels-last."""
    return x.contiguous(memory_format=torch.channels_last_3d if x.dim() == 5 else torch.channels_last)


def _vectors(channels: int) -> int:
    """The channels that a convolution kernel computes for so many: whole vectors of 16 numbers."""
    return -(-channels // 16) * 16
