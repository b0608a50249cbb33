"""The gradient of an octave convolution, put together once.

Autograd alone would pad each path's weight gradient to the dense size, write averages' and upsampled maps' gradients
out at full resolution before adding them, and keep the pooled map. Here what is small stays small until it is added
in place, and the pooled map is made again.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from octvideo.kernels import training
from octvideo.kernels.training import trains
from octvideo.layers.flat import gradients
from octvideo.layers.resample import add_upsampled_, downsample, upsample

Path = tuple[str, str]
Sizes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]


Outputs = tuple[Tensor | None, Tensor | None]
Forward = Callable[[Tensor | None, Tensor | None, Tensor, Tensor | None], Outputs]


class Paths(NamedTuple):
    """The convolutions of an octave layer with average pools and nearest upsampling, by path (out, into).

    Args:
        blocks: rows and columns of the weight that each has.
        sizes: stride, padding, dilation and groups of each.
        keeps_size: whether the outputs have the inputs' sizes; else the layer halves height and width, the high input
            is halved already, and the low one is as large.
        low_at_once: whether one convolution gives both outputs of the low input.
    """

    blocks: dict[Path, tuple[slice, slice]]
    sizes: dict[Path, Sizes]
    keeps_size: bool
    low_at_once: bool

    @property
    def padding(self) -> tuple[int, ...]:
        return next(iter(self.sizes.values()))[1]


def convolve_paths(
    forward: Forward,
    high: Tensor | None,
    low: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    paths: Paths,
    halve: bool = False,
) -> Outputs:
    """``forward(high, low, weight, bias)``, the high and the low output, with the gradient of this file.

    Args:
        high: ``(B, C_high, T, H, W)`` with even H and W, after it is pooled too, or None.
        low: ``(B, C_low, T, H/2, W/2)``, or at the size of high where the layer halves it; or None.
        weight: the dense weight, high rows and columns first.
        bias: ``(C_out,)``, high rows first, or None.
        halve: whether ``forward`` gets the high input pooled. What is kept is the input, which others keep as well.
    """
    return _Convolution.apply(forward, high, low, weight, bias, paths, halve)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, forward: Forward, high: Tensor | None, low: Tensor | None, weight: Tensor, bias: Tensor | None,
        paths: Paths, halve: bool,
    ) -> Outputs:  # fmt: skip
        ctx.save_for_backward(high, low, weight)
        ctx.paths, ctx.halve = paths, halve
        return forward(downsample(high) if halve and high is not None else high, low, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_high: Tensor | None, to_low: Tensor | None) -> tuple[Any, ...]:  # type: ignore[override]
        whole, low, weight = ctx.saved_tensors
        high = downsample(whole) if ctx.halve else whole
        paths: Paths = ctx.paths
        _, wants_high, wants_low, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        weight_grad = torch.zeros_like(weight) if wants_weight else None

        in_float32 = to_high is not None and to_high.dtype == torch.float32  # no autocast ran forward
        own = high is not None and in_float32 and trains_paths(high, weight, paths)
        back = _by_kernels if own else _by_paths
        high_grad, low_grad = back(
            paths, weight, weight_grad, (to_high, to_low), (high, low), (wants_high, wants_low)
        )
        bias_grad = None
        if wants_bias:
            parts = [part for part in (to_high, to_low) if part is not None]
            bias_grad = torch.cat([part.transpose(0, 1).flatten(1).sum(1) for part in parts]).to(weight.dtype)
        if ctx.halve and high_grad is not None:
            high_grad = upsample(high_grad.mul_(0.25))
        return None, _as(high_grad, whole), _as(low_grad, low), weight_grad, bias_grad, None, None


def trains_paths(high: Tensor, weight: Tensor, paths: Paths) -> bool:
    """Whether kernels of ours do the whole layer and its gradient."""
    if ("high", "high") not in paths.blocks:
        return False
    rows, columns = paths.blocks["high", "high"]
    sizes = paths.sizes["high", "high"]
    low_rows = len(weight) - len(weight[rows])
    return low_rows % 8 == 0 and sizes[0][0] == 1 and trains(high, weight[rows, columns], *sizes)


def _by_kernels(
    paths: Paths,
    weight: Tensor,
    weight_grad: Tensor | None,
    grads: Outputs,
    inputs: Outputs,
    wanted: tuple[bool, bool],
) -> Outputs:
    """The inputs' gradients, each one sum of convolutions; the weight's is written into ``weight_grad``."""
    (to_high, to_low), (high, low) = grads, inputs
    assert high is not None
    assert to_high is not None

    def into_input(out_grads: dict[Path, Tensor | None], up: Tensor | None = None) -> Tensor | None:
        there = {path: grad for path, grad in out_grads.items() if path in paths.blocks and grad is not None}
        blocks = [weight[paths.blocks[path]] for path in there]
        return training.input_gradient([*there.values()], blocks, paths.padding, up) if there else None

    def into_weight(path: Path, grad: Tensor | None, x: Tensor) -> None:
        if weight_grad is not None and path in paths.blocks and grad is not None:
            training.weight_gradient(grad, x, weight_grad[paths.blocks[path]], (1, 1, 1), paths.padding)

    high_grad = low_grad = None
    if ("low", "high") in paths.blocks:
        into_weight(("low", "high"), to_low, downsample(high))
    into_weight(("high", "high"), to_high, high)
    if wanted[0]:
        spread = into_input({("low", "high"): to_low})
        high_grad = into_input({("high", "high"): to_high}, None if spread is None else spread.mul_(0.25))
    if low is not None:
        if paths.keeps_size and ("high", "low") in paths.blocks:
            to_high = downsample(to_high).mul_(4)  # a pixel's gradient is the sum of those of its four copies
        into_weight(("high", "low"), to_high, low)
        if ("low", "low") in paths.blocks:
            into_weight(("low", "low"), to_low, low if paths.keeps_size else downsample(low))
        if wanted[1] and paths.keeps_size:
            low_grad = into_input({("high", "low"): to_high, ("low", "low"): to_low})
        elif wanted[1]:
            spread = into_input({("low", "low"): to_low})
            spread = None if spread is None else spread.mul_(0.25)
            low_grad = into_input({("high", "low"): to_high}, spread)
            if low_grad is None and spread is not None:
                low_grad = upsample(spread)
    return high_grad, low_grad


def _by_paths(
    paths: Paths,
    weight: Tensor,
    weight_grad: Tensor | None,
    grads: Outputs,
    inputs: Outputs,
    wanted: tuple[bool, bool],
) -> Outputs:
    """The inputs' gradients, path by path; the weight's is written into ``weight_grad``."""
    (to_high, to_low), (high, low) = grads, inputs

    def back(path: Path, grad: Tensor, x: Tensor, wants_x: bool) -> Tensor | None:
        if path[0] == "both":
            rows, columns = slice(None), paths.blocks["high", path[1]][1]
            path = ("high", path[1])
        else:
            rows, columns = paths.blocks[path]
        # Autocast ran the convolution in the output's type.
        x, block = x.to(grad.dtype), weight[rows, columns].to(grad.dtype)
        x_grad, block_grad = gradients(grad, x, block, paths.sizes[path], wants_x, weight_grad is not None)
        if weight_grad is not None and block_grad is not None:
            weight_grad[rows, columns] = block_grad
        return x_grad

    high_grad = low_grad = None
    if low is not None:
        low_grad = _low_gradient(paths, back, to_high, to_low, low, wanted[1])
    if high is not None:
        if ("high", "high") in paths.blocks:
            assert to_high is not None
            high_grad = back(("high", "high"), to_high, high, wanted[0])
        if ("low", "high") in paths.blocks:
            assert to_low is not None
            pooled_grad = back(("low", "high"), to_low, downsample(high), wanted[0])
            if pooled_grad is not None:
                high_grad = _spread_into(high_grad, pooled_grad, high)
    return high_grad, low_grad


def _low_gradient(
    paths: Paths,
    back: Callable[[Path, Tensor, Tensor, bool], Tensor | None],
    to_high: Tensor | None,
    to_low: Tensor | None,
    low: Tensor,
    wanted: bool,
) -> Tensor | None:
    """Of the low input, through the paths to both outputs."""
    if to_high is not None and paths.keeps_size:
        to_high = downsample(to_high).mul_(4)  # a pixel's gradient is the sum of those of its four copies
    if paths.low_at_once:
        assert to_high is not None
        assert to_low is not None
        return back(("both", "low"), torch.cat([to_high, to_low], 1), low, wanted)
    grad = None
    if ("high", "low") in paths.blocks:
        assert to_high is not None
        grad = back(("high", "low"), to_high, low, wanted)
    if ("low", "low") in paths.blocks:
        assert to_low is not None
        if paths.keeps_size:
            through_low = back(("low", "low"), to_low, low, wanted)
            return through_low if grad is None or through_low is None else grad.add_(through_low)
        through_low = back(("low", "low"), to_low, downsample(low), wanted)
        grad = grad if through_low is None else _spread_into(grad, through_low, low)
    return grad


def _spread_into(grad: Tensor | None, averages_grad: Tensor, x: Tensor) -> Tensor:
    """``grad`` and a quarter of the averages' gradient at each of their four pixels."""
    grad = torch.zeros_like(x, dtype=averages_grad.dtype) if grad is None else grad
    return add_upsampled_(grad, averages_grad.mul_(0.25))


def _as(grad: Tensor | None, x: Tensor | None) -> Tensor | None:
    return grad if grad is None or x is None else grad.to(x.dtype)
