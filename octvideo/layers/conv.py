"""Octave convolution: https://arxiv.org/abs/1904.05049, section 3.3, for images and for video.

The weight is the dense convolution's. Its rows and columns fall into a high and a low group each, and the four
blocks are the four paths:

    out_high = conv(in_high, W[high, high])           + upsample(conv(in_low, W[high, low]))
    out_low  = conv(downsample(in_high), W[low, high]) + conv(in_low, W[low, low])

B batch, C channels, T frames, H height, W width.
"""

import itertools
from typing import cast

import torch
from torch import Tensor, nn

from octvideo.errors import InputError
from octvideo.layers.flat import convolve
from octvideo.layers.gradient import Paths, convolve_paths, trains_paths
from octvideo.layers.octave import ChannelSplit, Octave, check_alpha, split_channels
from octvideo.layers.octave_sums import OctaveSums
from octvideo.layers.resample import (
    DOWNSAMPLE,
    UPSAMPLE,
    add_upsampled,
    add_upsampled_,
    downsample,
    needs_gradient,
    upsample,
)


class _OctaveConv(nn.modules.conv._ConvNd):
    """What OctaveConv2d and OctaveConv3d share. Spatial axes are the last two, in every tuple too."""

    _rows: Tensor | None
    _columns: Tensor | None
    in_split: ChannelSplit
    out_split: ChannelSplit
    resample_down: str = "avg_pool"
    resample_up: str = "nearest"
    high_to_low: bool = True
    low_to_high: bool = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        alpha_in: float,
        alpha_out: float,
        downsample: str = "avg_pool",
        upsample: str = "nearest",
        high_to_low: bool = True,
        low_to_high: bool = True,
    ) -> None:
        splits = _alpha_splits(in_channels, out_channels, alpha_in, alpha_out)
        # Next in line is nn.Conv2d or nn.Conv3d.
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)  # type: ignore[call-arg, arg-type]
        self._set_up(*splits, downsample, upsample, high_to_low, low_to_high)

    def _set_up(
        self,
        in_split: ChannelSplit,
        out_split: ChannelSplit,
        downsample: str = "avg_pool",
        upsample: str = "nearest",
        high_to_low: bool = True,
        low_to_high: bool = True,
    ) -> None:
        """Check that the layer can be split this way, and keep what forward needs."""
        if downsample not in DOWNSAMPLE:
            raise InputError(f"downsample is {downsample!r}; it must be one of {', '.join(DOWNSAMPLE)}")
        if upsample not in UPSAMPLE:
            raise InputError(f"upsample is {upsample!r}; it must be one of {', '.join(UPSAMPLE)}")
        self.in_split, self.out_split = in_split, out_split
        self.resample_down, self.resample_up = downsample, upsample
        self.high_to_low, self.low_to_high = high_to_low, low_to_high
        self.depthwise = self.groups > 1 and self.groups == self.in_channels
        self.is_dense = not in_split.low and not out_split.low
        if self.is_dense:
            return
        if self.padding_mode != "zeros" or isinstance(self.padding, str):
            raise InputError(
                f"padding is {self.padding!r} with padding_mode {self.padding_mode!r}; "
                "an octave convolution takes integers and zeros"
            )
        stride = self.stride[-2:]
        if stride not in ((1, 1), (2, 2)):
            raise InputError(
                f"stride is {self.stride}; an octave convolution's spatial stride must be 1 or 2"
            )
        self.spatial_stride = stride[0]
        self._check_same_size()
        self._check_groups()
        switches = {("low", "high"): high_to_low, ("high", "low"): low_to_high}
        groups = {"high": (in_split.high, out_split.high), "low": (in_split.low, out_split.low)}
        # The paths (out, into). One that crosses stays where nothing else feeds its output.
        self.paths = {
            (out, into)
            for out, into in itertools.product(groups, repeat=2)
            if groups[out][1] and groups[into][0]
            and (out == into or not groups[out][0] or (switches[out, into] and not self.depthwise))
        }  # fmt: skip
        # Where all are there and the size stays, one convolution serves both outputs of an input.
        self.gives_both = (
            self.groups == self.spatial_stride == 1
            and bool(in_split.high)
            and self.paths == {(o, i) for o in ("high", "low") for i in groups if groups[i][0]}
        )
        self._plan = self._gradient_plan()
        # Channel numbers, high ones first; None where the dense order is that already, or counts within groups.
        self._register_order("_rows", out_split)
        self._register_order("_columns", None if self.groups > 1 else in_split)

    def _check_same_size(self) -> None:
        """Paths that meet must give maps of one size: only a convolution that keeps the size does at both."""
        one_way = not (self.in_split.high and self.out_split.high) and not (
            self.in_split.low and self.out_split.low
        )
        all_low = not self.in_split.high and not self.out_split.high
        padding = cast(tuple[int, ...], self.padding)
        keeps_size = all(
            2 * padding[axis] == self.dilation[axis] * (self.kernel_size[axis] - 1) for axis in (-2, -1)
        )
        if not keeps_size and not one_way and not all_low:
            raise InputError(
                f"padding is {self.padding} with kernel_size {self.kernel_size} and dilation {self.dilation}; "
                "spatially it must be dilation * (kernel_size - 1) / 2, or the two frequencies differ in size"
            )

    def _check_groups(self) -> None:
        if self.groups == 1:
            return
        if self.depthwise:
            times = self.out_channels // self.in_channels
            if len(self.in_split.low) * times != len(self.out_split.low):
                raise InputError(
                    f"groups is {self.groups} (depth-wise) with {len(self.in_split.low)} low channels in and "
                    f"{len(self.out_split.low)} out; a depth-wise layer needs the same alpha_in and alpha_out"
                )
            return
        for name, split in (("in", self.in_split), ("out", self.out_split)):
            for frequency in ("high", "low"):
                count = len(getattr(split, frequency))
                if count % self.groups:
                    raise InputError(
                        f"groups is {self.groups} with {count} {frequency} channels {name}; "
                        "each frequency's channels must be a multiple of groups"
                    )

    def _register_order(self, name: str, split: ChannelSplit | None) -> None:
        order = () if split is None else split.high + split.low
        as_it_is = order == tuple(range(len(order)))
        self.register_buffer(name, None if as_it_is else torch.tensor(order), persistent=False)

    def _gradient_plan(self) -> Paths | None:
        """What the gradient needs to know; None where it is left to autograd."""
        if self.resample_down != "avg_pool" or self.resample_up != "nearest":
            return None
        num_high, columns = len(self.out_split.high), len(self.in_split.high) // self.groups
        rows_of = {"high": slice(num_high), "low": slice(num_high, None)}
        columns_of = {"high": slice(columns), "low": slice(columns, None)}
        every = slice(None)
        padding = cast(tuple[int, ...], self.padding)
        return Paths(
            {
                (out, into): (rows_of[out], every if self.depthwise else columns_of[into])
                for out, into in self.paths
            },
            {
                (out, into): ((*self.stride[:-2], 1, 1), padding, self.dilation, self._groups(into))
                for out, into in self.paths
            },
            keeps_size=self.spatial_stride == 1,
            low_at_once=self.gives_both and bool(self.in_split.low),
        )

    def _groups(self, into: str) -> int:
        return len(getattr(self.in_split, into)) if self.depthwise else self.groups

    def _in_order(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias, high rows and columns first."""
        weight = self.weight if self._rows is None else self.weight[self._rows]
        weight = weight if self._columns is None else weight[:, self._columns]
        return weight, self.bias if self.bias is None or self._rows is None else self.bias[self._rows]

    def weights(self, weight: Tensor | None = None) -> dict[tuple[str, str], Tensor]:
        """The weight of every path (out, into), and of (both, into): blocks of the dense weight.

        Two splits give them all, so that autograd puts the dense gradient together in two copies. (Slices would each
        pad theirs with zeros to the dense size, and add.)
        """
        weight = self._in_order()[0] if weight is None else weight
        high, low = len(self.in_split.high) // self.groups, len(self.in_split.low) // self.groups
        if self.depthwise:
            columns = {"high": weight, "low": weight}
        else:
            columns = _parts(weight, high, low, 1)
        blocks = {("both", into): block for into, block in columns.items()}
        for into, block in columns.items():
            rows = _parts(block, len(self.out_split.high), len(self.out_split.low), 0)
            blocks |= {(out, into): rows[out] for out in rows}
        return blocks

    def biases(self, bias: Tensor | None = None) -> dict[tuple[str, str], Tensor | None]:
        """The bias of every path, and of (both, into): an output has it from one path, from high where there is one."""
        bias = self._in_order()[1] if bias is None else bias
        rows: dict[str, Tensor] = {}
        if bias is not None:
            rows = {**_parts(bias, len(self.out_split.high), len(self.out_split.low), 0), "both": bias}
        alone = {(out, "low") for out in ("high", "low") if (out, "high") not in self.paths}
        return {
            path: rows.get(path[0]) if path[1] == "high" or path in alone else None
            for path in (*self.paths, ("both", "high"), ("both", "low"))
        }

    def forward(self, x: Octave | Tensor) -> Octave | Tensor:  # type: ignore[override]
        if self.is_dense:
            assert isinstance(x, Tensor)
            return self._conv_forward(x, self.weight, self.bias)  # type: ignore[operator]
        high, low = self._frequencies(x)
        weight, bias = self._in_order()
        halve = high is not None and self.spatial_stride == 2 and self.resample_down == "avg_pool"
        if self._has_own_gradient(high, low, weight, halve):
            outputs = convolve_paths(self._sums, high, low, weight, bias, cast(Paths, self._plan), halve)
        else:
            outputs = self._sums(downsample(high) if halve and high is not None else high, low, weight, bias)
        if not self.out_split.low:
            assert outputs[0] is not None
            return outputs[0]
        return Octave(*outputs)

    def _has_own_gradient(self, high: Tensor | None, low: Tensor | None, weight: Tensor, halve: bool) -> bool:
        """torch.compile puts gradients together by itself; of odd sizes they are left to autograd."""
        if self._plan is None or torch.compiler.is_compiling():
            return False
        pixels = 4 if halve else 2
        if high is not None and (high.shape[-2] % pixels or high.shape[-1] % pixels):
            return False
        return any(needs_gradient(part) for part in (high, low, weight) if part is not None)

    def _sums(
        self, high: Tensor | None, low: Tensor | None, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """The high and the low output; ``high`` is pooled already where an average pool stands for the stride."""
        weights, biases = self.weights(weight), self.biases(bias)
        is_watched = torch.is_grad_enabled()
        if high is not None and self._plan and not is_watched and trains_paths(high, weight, self._plan):
            own = {path: weights[path] for path in self.paths}
            outs = [out for out in ("high", "low") if getattr(self.out_split, out)]
            into = {out: biases[out, "high" if (out, "high") in own else "low"] for out in outs}
            sums = OctaveSums(own, into, self.stride[0], self._plan.padding, self.spatial_stride == 2)
            outputs = sums(high, low)
            return outputs[0], outputs[1] if outputs[1:] else None
        pools = self.resample_down == "avg_pool"
        stride = 1 if pools else self.spatial_stride

        def path(x: Tensor, out: str, into: str, stride: int) -> Tensor:
            sizes = (*self.stride[:-2], stride, stride), cast(tuple[int, ...], self.padding), self.dilation
            return convolve(x, weights[out, into], biases[out, into], *sizes, self._groups(into))

        high_out = low_out = to_high = to_low = None
        if high is not None:
            if ("high", "high") in self.paths:
                high_out = path(high, "high", "high", stride)
            if ("low", "high") in self.paths:
                low_out = (
                    path(downsample(high), "low", "high", 1)
                    if pools
                    else path(high, "low", "high", 2 * stride)
                )
        if low is not None:
            if self.gives_both:
                sizes = [len(self.out_split.high), len(self.out_split.low)]
                to_high, to_low = path(low, "both", "low", 1).split(sizes, 1)
            else:
                if ("high", "low") in self.paths:
                    to_high = path(low, "high", "low", 1)
                if ("low", "low") in self.paths:
                    shrinks = pools and self.spatial_stride == 2
                    to_low = path(downsample(low) if shrinks else low, "low", "low", stride)
        return self._add_low(high_out, to_high), _add(low_out, to_low)

    def _add_low(self, high: Tensor | None, to_high: Tensor | None) -> Tensor | None:
        """The high output: what came from high, and what came from low, which at stride 2 has its size already."""
        if to_high is None:
            return high
        if self.spatial_stride == 2:
            return _add(high, to_high)
        if high is None:
            return upsample(to_high, None, self.resample_up)
        return (add_upsampled_ if _in_place() else add_upsampled)(high, to_high, self.resample_up)

    def _frequencies(self, x: Octave | Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What came in, checked against the channels that the layer was made for."""
        high, low = (x, None) if isinstance(x, Tensor) else x
        for name, part, expected in (
            ("high", high, len(self.in_split.high)),
            ("low", low, len(self.in_split.low)),
        ):
            found = 0 if part is None else part.shape[1]
            if found != expected:
                raise InputError(f"the input has {found} {name} channels; this layer takes {expected}")
        return high, low

    def extra_repr(self) -> str:
        split = f"in={len(self.in_split.high)}+{len(self.in_split.low)}"
        return f"{super().extra_repr()}, {split}, out={len(self.out_split.high)}+{len(self.out_split.low)}"


def _add(y: Tensor | None, z: Tensor | None) -> Tensor | None:
    """The sum of what is there, in the memory of ``y`` where autograd does not watch."""
    if y is None or z is None:
        return z if y is None else y
    return y.add_(z) if _in_place() else y + z


def _in_place() -> bool:
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _parts(tensor: Tensor, num_high: int, num_low: int, dim: int) -> dict[str, Tensor]:
    """The high and the low part along ``dim``; a part without channels is left out."""
    if not num_high or not num_low:
        return {"high" if num_high else "low": tensor}
    high, low = tensor.split([num_high, num_low], dim)
    return {"high": high, "low": low}


def _alpha_splits(
    in_channels: int, out_channels: int, alpha_in: float, alpha_out: float
) -> tuple[ChannelSplit, ChannelSplit]:
    check_alpha("alpha_in", alpha_in)
    check_alpha("alpha_out", alpha_out)
    return (
        ChannelSplit.high_first(*split_channels(in_channels, alpha_in)),
        ChannelSplit.high_first(*split_channels(out_channels, alpha_out)),
    )


class OctaveConv3d(_OctaveConv, nn.Conv3d):  # type: ignore[misc]
    """A 3D convolution whose input and output keep part of their channels at half the height and width.

    Takes and gives an ``Octave`` of ``(B, C_high, T, H, W)`` and ``(B, C_low, T, ceil(H/2), ceil(W/2))``;
    with ``alpha_in=0`` it takes a tensor, with ``alpha_out=0`` it gives one, with both it is ``nn.Conv3d`` to the
    bit. ``alpha=1`` is all low: ``Octave(None, low)``. Parameters are the dense layer's: ``weight
    (C_out, C_in / groups, kT, kH, kW)``, high channels first on both axes, and ``bias (C_out,)``.

    A spatial stride of 2 is an average pool, then a convolution of stride 1; a temporal stride stays in the
    convolution. Depth-wise layers have no paths between the frequencies; grouped ones use the same number of
    groups in all four paths. Sources: paper section 3.3; the authors' code for strides and groups.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as for ``nn.Conv3d``;
            spatial stride 1 or 2, and spatial padding that keeps the size.
        alpha_in: share of the input channels that are low-frequency, in [0, 1].
        alpha_out: share of the output channels that are low-frequency, in [0, 1].
        downsample: ``avg_pool`` (the paper's choice) or ``stride``, for every shrinking path.
        upsample: ``nearest`` (the paper's choice) or ``linear``.
        high_to_low, low_to_high: whether the paths between the frequencies exist (paper, Table 3); a frequency
            that nothing else feeds keeps its path.

    Raises:
        ValueError: an alpha outside [0, 1], a stride, padding or number of groups that cannot be split; at
            run time an input with other numbers of high and low channels.
    """


class OctaveConv2d(_OctaveConv, nn.Conv2d):  # type: ignore[misc]
    """The image sibling of ``OctaveConv3d``: ``(B, C, H, W)``, and no time axis in any argument."""


def octave_conv(
    conv: nn.Conv2d | nn.Conv3d,
    in_split: ChannelSplit,
    out_split: ChannelSplit,
    *,
    downsample: str = "avg_pool",
    upsample: str = "nearest",
    high_to_low: bool = True,
    low_to_high: bool = True,
) -> OctaveConv2d | OctaveConv3d:
    """The octave layer that runs a dense layer's own parameters (shared, not copied) with the given splits.

    Raises:
        ValueError: the layer cannot be split this way.
    """
    kind: type[OctaveConv2d | OctaveConv3d] = OctaveConv3d if isinstance(conv, nn.Conv3d) else OctaveConv2d
    layer = kind.__new__(kind)
    nn.Module.__init__(layer)
    # Parameters, settings and hooks are the dense layer's; what is octave about it comes from _set_up.
    layer.__dict__.update({k: v.copy() if isinstance(v, dict) else v for k, v in conv.__dict__.items()})
    layer._set_up(in_split, out_split, downsample, upsample, high_to_low, low_to_high)
    return layer
