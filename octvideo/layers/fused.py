"""Convolutions for inference: weights laid out once, and the addition and ReLU behind them in the same pass.

B batch, C channels, T frames, H height, W width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from octvideo.kernels.build import runs_plainly
from octvideo.kernels.convolve import SumOfConvolutions, is_supported
from octvideo.layers.flat import flat_kind, flat_sizes
from octvideo.layers.images import as_clip, as_images
from octvideo.layers.resample import needs_gradient


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

    Attributes:
        relu: whether a ReLU is the end.
        overwrites: whether the memory of ``other`` may become the output's: nothing reads it afterwards.
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
        self.relu = self.overwrites = False
        # Weights in oneDNN's layout and the sizes with them, by the kind of view and the type.
        self._packed: dict[Any, tuple[Any, ...]] = {}
        self._own: dict[torch.dtype, SumOfConvolutions | None] = {}

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """``x`` and ``other`` are ``(B, C, T, H, W)`` or ``(B, C, H, W)``."""
        if other is None or other.shape == self.out_shape(x):
            return self.convolve(x, other, relu=self.relu, overwrite=self.overwrites)
        return behind(self.convolve(x), other, self.relu)  # other broadcasts

    def out_shape(self, x: Tensor) -> tuple[int, ...]:
        """Of the convolution of ``x``."""
        axes = zip(x.shape[2:], self.weight.shape[2:], self.stride, self.padding, self.dilation, strict=True)
        size = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)
        return (x.shape[0], self.weight.shape[0], *size)

    def convolve(
        self, x: Tensor, other: Tensor | None = None, *, relu: bool = False, overwrite: bool = False
    ) -> Tensor:
        """``relu(conv(x) + other)`` for ``other`` of the output's shape, whose memory ``overwrite`` gives up."""
        own = self._own_kernel() if runs_own_kernel(x) else None
        if own is not None:
            return _run_own(own, x, other, relu, overwrite)
        kind = flat_kind(x, self.weight.shape, self.stride, self.padding)
        if kind is None:
            return self._run(x, other, relu, overwrite, None)
        images = None if other is None else as_images(other, kind)
        return as_clip(self._run(as_images(x, kind), images, relu, overwrite, kind), kind, x)

    def has_own_kernel(self) -> bool:
        """Whether a kernel of ours does this convolution on this machine's processor, for the weight's type."""
        return is_supported(self.weight, self.stride, self.padding, self.dilation, self.groups)

    def _own_kernel(self) -> SumOfConvolutions | None:
        """The convolution in a kernel of ours, for the weight's type; None where it has none on this machine."""
        dtype = self.weight.dtype
        if dtype not in self._own:
            self._own = {dtype: None}
            if self.has_own_kernel():
                as_clip = self.weight if self.weight.dim() == 5 else self.weight.unsqueeze(2)
                stride, padding = (1, *self.stride)[-3:], (0, *self.padding)[-3:]
                self._own = {dtype: SumOfConvolutions([as_clip], self.bias, stride, padding)}
        return self._own[dtype]

    def _run(self, x: Tensor, other: Tensor | None, relu: bool, overwrite: bool, kind: str | None) -> Tensor:
        if self._has_kernel(x):
            return self._run_kernel(x, other, relu, overwrite, kind)
        weight, stride, padding, dilation = flat_sizes(
            self.weight, self.stride, self.padding, self.dilation, kind
        )
        conv = F.conv2d if x.dim() == 4 else F.conv3d
        return behind(conv(x, weight, self.bias, stride, padding, dilation, self.groups), other, relu)

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
            return behind(kernels._convolution_pointwise(x, *sizes, "none", [], ""), other, relu)
        epilogue: tuple[Any, ...] = ("add", 1.0, "relu" if relu else None, [], None)
        if overwrite:
            return kernels._convolution_pointwise_.binary(other, x, *sizes, *epilogue)
        return kernels._convolution_pointwise.binary(x, other, *sizes, *epilogue)

    def _has_kernel(self, x: Tensor) -> bool:
        if torch.compiler.is_compiling():  # torch.compile fuses and lays out by itself
            return False
        return x.device.type == "cpu" and x.dtype in _DTYPES and not needs_gradient(x)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": {}, "_own": {}}  # oneDNN's layout cannot be copied or saved


def _run_own(
    kernel: SumOfConvolutions, x: Tensor, other: Tensor | None, relu: bool, overwrite: bool
) -> Tensor:
    if x.dim() == 5:
        return kernel([x], other, relu=relu, overwrite=overwrite)[0]
    others = None if other is None else other.unsqueeze(2)
    return kernel([x.unsqueeze(2)], others, relu=relu, overwrite=overwrite)[0].squeeze(2)


def runs_own_kernel(x: Tensor) -> bool:
    """Whether a kernel of ours may take this input: it knows no gradient."""
    return runs_plainly(x) and not needs_gradient(x)


def behind(y: Tensor, other: Tensor | None, relu: bool) -> Tensor:
    """``relu(y + other)``, either left out where there is none; ``y`` is a convolution's result, and given up."""
    if torch.compiler.is_compiling() or needs_gradient(y) or y.nbytes < y.untyped_storage().nbytes():
        # Part of a larger tensor: the kernels behind want one without gaps.
        y = y if other is None else y + other
        return F.relu(y) if relu else y
    if other is not None:
        y = y.add_(other) if torch.broadcast_shapes(y.shape, other.shape) == y.shape else y + other
    return y.relu_() if relu else y
