"""Convolutions over space or over time alone, run by 2D kernels.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from octvideo.kernels import training
from octvideo.kernels.training import trains
from octvideo.layers.images import as_clip, as_images, is_channels_last


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """``conv2d`` or ``conv3d`` by the kernel's rank; in two dimensions where that is the same and needs no copy.

    Of a channels-last ``(B, C, T, H, W)``, a (1, k, k) convolution is a 2D one of the view ``(B * T, C, H, W)``,
    and a (k, 1, 1) one of the view ``(B, C, T, H * W)``. Where kernels of ours do it, they do.
    """
    if trains(x, weight, stride, padding, dilation, groups):
        if torch.is_grad_enabled():
            return _Convolution.apply(x, weight, bias, tuple(stride), tuple(padding))
        return training.convolve(x, weight, bias, stride, padding)
    kind = flat_kind(x, weight.shape, stride, padding)
    weight, stride, padding, dilation = flat_sizes(weight, stride, padding, dilation, kind)
    if kind is not None:
        return as_clip(F.conv2d(as_images(x, kind), weight, bias, stride, padding, dilation, groups), kind, x)
    conv = F.conv2d if x.dim() == 4 else F.conv3d
    return conv(x, weight, bias, stride, padding, dilation, groups)


def gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    sizes: tuple[Sequence[int], Sequence[int], Sequence[int], int],
    wants_x: bool,
    wants_weight: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of a convolution's input and weight, by the kernels that ran it.

    Args:
        grad: of the output.
        x: the input.
        sizes: stride, padding, dilation and groups.
        wants_x, wants_weight: which of them; None stands for the other.
    """
    stride, padding, dilation, groups = sizes
    x_grad = weight_grad = None
    if trains(x, weight, *sizes) and grad.dtype == torch.float32 and not torch.is_grad_enabled():
        if wants_weight:
            into = torch.empty_like(weight)
            weight_grad, wants_weight = training.weight_gradient(grad, x, into, stride, padding), False
        if wants_x and all(s == 1 for s in stride):
            x_grad, wants_x = training.input_gradient([grad], [weight], padding), False
    if not wants_x and not wants_weight:
        return x_grad, weight_grad
    kind = flat_kind(x, weight.shape, stride, padding)
    flat, stride, padding, dilation = flat_sizes(weight, stride, padding, dilation, kind)
    images, image_grad = (x, grad) if kind is None else (as_images(x, kind), as_images(grad, kind))
    found_x, found_weight, _ = torch.ops.aten.convolution_backward(
        image_grad, images, flat, None, stride, padding, dilation, False, [0] * len(stride), groups,
        (wants_x, wants_weight, False),
    )  # fmt: skip
    if found_x is not None:
        x_grad = found_x if kind is None else as_clip(found_x, kind, x)
    return x_grad, weight_grad if found_weight is None else found_weight.view(weight.shape)


class _Convolution(torch.autograd.Function):
    """Of one group, without dilation; a gradient's gradient is by torch's operations."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.sizes = stride, padding, (1, 1, 1), 1
        return training.convolve(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        x_grad, weight_grad = gradients(grad, x, weight, ctx.sizes, wants_x, wants_weight)
        return x_grad, weight_grad, grad.sum((0, 2, 3, 4)) if wants_bias else None, None, None


def flat_kind(
    x: Tensor, weight_shape: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> str | None:
    """``space`` or ``time`` where the convolution of a clip is a 2D one of a view; None where it is not."""
    if x.dim() == 4 or not is_channels_last(x):
        return None
    if weight_shape[2] == stride[0] == 1 and padding[0] == 0:
        return "space"
    in_time = tuple(weight_shape[3:]) == tuple(stride[1:]) == (1, 1) and tuple(padding[1:]) == (0, 0)
    return "time" if in_time and (x.dtype != torch.float32 or _is_slow_in_3d(x)) else None


def flat_sizes(
    weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], kind: str | None
) -> tuple[Tensor, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Weight, stride, padding and dilation of that 2D convolution."""
    if kind == "space":
        return weight[:, :, 0], tuple(stride[1:]), tuple(padding[1:]), tuple(dilation[1:])
    if kind == "time":
        return weight[..., 0], (stride[0], 1), (padding[0], 0), (dilation[0], 1)
    return weight, tuple(stride), tuple(padding), tuple(dilation)


def _is_slow_in_3d(x: Tensor) -> bool:
    """Whether torch leaves a 3D convolution of this input to its unvectorised kernel on the CPU.

    Source: ``use_mkldnn`` in torch's ``aten/src/ATen/native/Convolution.cpp``: one clip of few numbers.
    """
    return x.device.type == "cpu" and x.shape[0] == 1 and x.shape[1] * x.shape[2] * x.shape[3] <= 20480


class FlatConv3d(nn.Conv3d):
    """``nn.Conv3d`` with a (1, k, k) or (k, 1, 1) kernel, as a 2D convolution where the input is channels-last.

    The same parameters and, to rounding, the same result; the 2D kernels are faster. ``(B, C, T, H, W)`` in and
    out.
    """

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)  # type: ignore[arg-type]


def flat_convs(model: nn.Module) -> nn.Module:
    """Let every ``nn.Conv3d`` over space or time alone run in 2D, in place; no parameter changes."""
    for module in model.modules():
        if type(module) is not nn.Conv3d or not is_zero_padded(module):
            continue
        assert not isinstance(module.padding, str)
        in_space = module.kernel_size[0] == module.stride[0] == 1 and module.padding[0] == 0
        in_time = module.kernel_size[1:] == module.stride[1:] == (1, 1) and module.padding[1:] == (0, 0)
        if in_space or in_time:
            module.__class__ = FlatConv3d
    return model


def is_zero_padded(conv: nn.Conv2d | nn.Conv3d) -> bool:
    """Whether a convolution pads with zeros, by numbers of pixels: what the fast forms know."""
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
