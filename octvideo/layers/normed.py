"""A batch norm, and what is behind it, by an engine that has kernels of its own for it in training.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from octvideo.engines.norm import Norm, NormedMap, Statistics


def normalise(
    norm: Norm,
    maps: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor] | None,
    momentum: float,
    eps: float,
    *,
    batches: Tensor | None = None,
    residuals: Sequence[Tensor] = (),
    relu: bool,
) -> list[Tensor]:
    """Maps by the statistics of their own pixels, with the rows of one dense norm that follow each other.

    Args:
        norm: the engine's.
        maps: ``(B, C, T, H, W)`` each, or without T for images.
        weight, bias: ``(sum of C,)``.
        running: mean and variance ``(sum of C,)``, which are changed.
        batches: how many there were, one integer, which is counted up.
        residuals: what is added to each map behind the norm; or nothing.
        relu: whether a ReLU follows that.
    """
    settings = running, batches, momentum, eps, relu
    return list(_Norm.apply(norm, settings, len(maps), weight, bias, *maps, *residuals))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, norm: Norm, settings: tuple[Any, ...], count: int, weight: Tensor, bias: Tensor,
        *maps_and_residuals: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        running, batches, momentum, ctx.eps, ctx.relu = settings
        maps, residuals = maps_and_residuals[:count], maps_and_residuals[count:]
        rows = _rows(maps, weight, bias, running)
        rows[0] = rows[0]._replace(batches=batches)
        if residuals:
            rows = [of._replace(residual=residual) for of, residual in zip(rows, residuals, strict=True)]
        outputs, statistics = norm.forward(rows, momentum, ctx.eps, relu=ctx.relu)
        kept = [part for pair in statistics for part in pair]
        ctx.save_for_backward(weight, bias, *maps, *kept, *(outputs if residuals else ()))
        ctx.norm, ctx.count = norm, count
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        weight, bias, *saved = ctx.saved_tensors
        maps, kept, outputs = saved[: ctx.count], saved[ctx.count : 3 * ctx.count], saved[3 * ctx.count :]
        if torch.is_grad_enabled():  # for a gradient's gradient, operations that autograd knows
            return _again(ctx, weight, bias, maps, outputs, grads)
        statistics = [Statistics(*pair) for pair in zip(kept[::2], kept[1::2], strict=True)]
        rows = _rows(maps, weight, bias, None)
        of_maps, of_rows, of_residuals = ctx.norm.backward(rows, statistics, outputs, grads, relu=ctx.relu)
        of_weight, of_bias = of_rows.to(weight.dtype)
        return None, None, None, of_weight, of_bias, *of_maps, *of_residuals


def _again(
    ctx: Any,
    weight: Tensor,
    bias: Tensor,
    maps: Sequence[Tensor],
    outputs: Sequence[Tensor],
    grads: Sequence[Tensor],
) -> tuple[Any, ...]:
    normed = [
        F.batch_norm(of.x, None, None, of.weight, of.bias, True, 0.0, ctx.eps)
        for of in _rows(maps, weight, bias, None)
    ]
    if ctx.relu:  # has no second derivative: it lets through or not
        shown = outputs or normed
        grads = [torch.where(y.detach() <= 0, 0, grad) for y, grad in zip(shown, grads, strict=True)]
    inputs = (weight, bias, *maps)
    wanted = [x for x in inputs if x.requires_grad]
    found = iter(torch.autograd.grad(normed, wanted, grads, create_graph=True))
    of_inputs = (next(found) if x.requires_grad else None for x in inputs)
    return None, None, None, *of_inputs, *(grads if outputs else ())


def _rows(
    maps: Sequence[Tensor], weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor] | None
) -> list[NormedMap]:
    counts = [x.shape[1] for x in maps]
    parts = [part.split(counts) for part in (weight, bias, *(running or ()))]
    return [NormedMap(x, *of_map) for x, *of_map in zip(maps, *parts, strict=True)]
