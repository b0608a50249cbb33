"""Octave convolution: https://arxiv.org/abs/1904.05049, section 3.3, for images and for video.

The weight is the dense convolution's. Its rows and columns fall into a high and a low group each, and the four blocks
belong to the four terms of ``octvideo.layers.plan``.

B batch, C channels, T frames, H height, W width.
"""

import torch
from torch import Tensor, nn

from octvideo.engines.resample import DOWNSAMPLE, UPSAMPLE
from octvideo.errors import InputError
from octvideo.layers.flat import geometry_of
from octvideo.layers.gradient import convolve
from octvideo.layers.octave import ChannelSplit, Octave, check_alpha, split_channels
from octvideo.layers.plan import Plan, octave_plan


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
        self._check_same_size()
        self._check_groups()
        self.plan = self._make_plan()
        # Channel numbers, high ones first; None where the dense order is that already, or counts within groups.
        self._register_order("_rows", out_split)
        self._register_order("_columns", None if self.groups > 1 else in_split)

    def _make_plan(self) -> Plan:
        into, out = (
            {name: len(getattr(split, name)) for name in ("high", "low") if getattr(split, name)}
            for split in (self.in_split, self.out_split)
        )
        return octave_plan(
            into,
            out,
            geometry_of(self),
            pools=self.resample_down == "avg_pool",
            is_linear=self.resample_up == "linear",
            high_to_low=self.high_to_low,
            low_to_high=self.low_to_high,
            is_depthwise=self.depthwise,
        )

    def _check_same_size(self) -> None:
        """Paths that meet must give maps of one size: only a convolution that keeps the size does at both."""
        one_way = not (self.in_split.high and self.out_split.high) and not (
            self.in_split.low and self.out_split.low
        )
        all_low = not self.in_split.high and not self.out_split.high
        if not geometry_of(self).keeps_size(self.kernel_size) and not one_way and not all_low:
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

    def in_order(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias, high rows and columns first."""
        weight = self.weight if self._rows is None else self.weight[self._rows]
        weight = weight if self._columns is None else weight[:, self._columns]
        return weight, self.bias if self.bias is None or self._rows is None else self.bias[self._rows]

    def forward(self, x: Octave | Tensor) -> Octave | Tensor:  # type: ignore[override]
        if self.is_dense:
            assert isinstance(x, Tensor)
            return self._conv_forward(x, self.weight, self.bias)  # type: ignore[operator]
        outputs = convolve(self.plan, self._frequencies(x), *self.in_order())
        if not self.out_split.low:
            return outputs["high"]
        return Octave(outputs.get("high"), outputs["low"])

    def _frequencies(self, x: Octave | Tensor) -> dict[str, Tensor]:
        """What came in, checked against the channels that the layer was made for."""
        parts = (
            {"high": x, "low": None} if isinstance(x, Tensor) else dict(zip(("high", "low"), x, strict=True))
        )
        for name, part in parts.items():
            found, expected = 0 if part is None else part.shape[1], len(getattr(self.in_split, name))
            if found != expected:
                raise InputError(f"the input has {found} {name} channels; this layer takes {expected}")
        return {name: part for name, part in parts.items() if part is not None}

    def extra_repr(self) -> str:
        split = f"in={len(self.in_split.high)}+{len(self.in_split.low)}"
        return f"{super().extra_repr()}, {split}, out={len(self.out_split.high)}+{len(self.out_split.low)}"


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
