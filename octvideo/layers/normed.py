"""Both frequencies' batch norm, and the ReLU behind it, by an engine that has kernels of its own for it in training.

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
    relu: bool,
) -> list[Tensor]:
    """Maps by the statistics of their own pixels, with the rows of one dense norm that follow each other.

    Args:
        norm: the engine's.
        maps: ``(B, C, T, H, W)`` each, or without T for images.
        weight, bias: ``(sum of C,)``.
        running: mean and variance ``(sum of C,)``, which are changed.
        relu: whether a ReLU follows.
    """
    return list(_Norm.apply(norm, running, momentum, eps, relu, weight, bias, *maps))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, norm: Norm, running: tuple[Tensor, Tensor] | None, momentum: float, eps: float, relu: bool,
        weight: Tensor, bias: Tensor, *maps: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        outputs, statistics = norm.forward(_rows(maps, weight, bias, running), momentum, eps, relu=relu)
        ctx.save_for_backward(weight, bias, *maps, *(part for pair in statistics for part in pair))
        ctx.norm, ctx.eps, ctx.relu, ctx.count = norm, eps, relu, len(maps)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        weight, bias, *saved = ctx.saved_tensors
        maps, kept = saved[: ctx.count], saved[ctx.count :]
        if torch.is_grad_enabled():  # for a gradient's gradient, operations that autograd knows
            return _again(ctx, weight, bias, maps, grads)
        statistics = [Statistics(*pair) for pair in zip(kept[::2], kept[1::2], strict=True)]
        of_maps, of_rows = ctx.norm.backward(
            _rows(maps, weight, bias, None), statistics, grads, relu=ctx.relu
        )
        of_weight, of_bias = of_rows.to(weight.dtype)
        return None, None, None, None, None, of_weight, of_bias, *of_maps


def _again(
    ctx: Any, weight: Tensor, bias: Tensor, maps: Sequence[Tensor], grads: Sequence[Tensor]
) -> tuple[Any, ...]:
    outputs = [
        F.batch_norm(of.x, None, None, of.weight, of.bias, True, 0.0, ctx.eps)
        for of in _rows(maps, weight, bias, None)
    ]
    outputs = [F.relu(y) for y in outputs] if ctx.relu else outputs
    inputs = (weight, bias, *maps)
    wanted = [x for x in inputs if x.requires_grad]
    found = iter(torch.autograd.grad(outputs, wanted, grads, create_graph=True))
    return None, None, None, None, None, *(next(found) if x.requires_grad else None for x in inputs)


def _rows(
    maps: Sequence[Tensor], weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor] | None
) -> list[NormedMap]:
    counts = [x.shape[1] for x in maps]
    parts = [part.split(counts) for part in (weight, bias, *(running or ()))]
    return [NormedMap(x, *of_map) for x, *of_map in zip(maps, *parts, strict=True)]
