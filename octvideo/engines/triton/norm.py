"""Batch norms by the kernels: two launches forward and two backward, for all maps of a layer."""

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from octvideo.engines.images import by_pixels, pixel_step
from octvideo.engines.norm import NormedMap, Statistics
from octvideo.engines.triton.kernels import norms
from octvideo.engines.triton.kernels.arguments import Normed
from octvideo.engines.triton.kernels.norms import MOST_SPLITS
from octvideo.engines.triton.problem import empty

# Numbers that a program has at a time: 32 of each of its threads.
TILE, WARPS = 4096, 4


def forward(
    maps: Sequence[NormedMap], momentum: float, eps: float, *, relu: bool
) -> tuple[list[Tensor], list[Statistics]]:
    """Of clips; see ``octvideo.engines.norm.Norm``."""
    outputs, kept, parts = [], [], []
    for map in maps:
        x, residual = by_pixels(map.x), None if map.residual is None else by_pixels(map.residual)
        statistics = Statistics(*torch.empty(2, x.shape[1], dtype=torch.float32, device=x.device))
        outputs.append(empty(x.shape, x.dtype, x))
        kept.append(statistics)
        parts.append(part(map._replace(x=x), statistics, outputs[-1], residual))
    launch(norms.statistics, parts)
    launch(norms.normalise, parts, momentum, eps, relu)
    return outputs, kept


def backward(
    maps: Sequence[NormedMap],
    statistics: Sequence[Statistics],
    outputs: Sequence[Tensor],
    grads: Sequence[Tensor],
    *,
    relu: bool,
) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """Of clips; see ``octvideo.engines.norm.Norm``."""
    counts = [len(map.weight) for map in maps]
    of_rows = torch.empty(2, sum(counts), dtype=torch.float32, device=grads[0].device)
    of_maps, of_residuals, parts = [], [], []
    for number, (map, rows) in enumerate(zip(maps, of_rows.split(counts, 1), strict=True)):
        x, grad = by_pixels(map.x), by_pixels(grads[number])
        of_maps.append(empty(x.shape, x.dtype, x))
        output = None
        if outputs:
            output = by_pixels(outputs[number])
            of_residuals.append(empty(x.shape, x.dtype, x))
        parts.append(
            part(
                map._replace(x=x), statistics[number], of_maps[-1], output,
                of_residual=of_residuals[-1] if outputs else None, grad=grad, of_rows=rows,
            )
        )  # fmt: skip
    launch(norms.gradient_sums, parts, relu)
    launch(norms.gradients, parts, relu)
    return of_maps, of_rows, of_residuals


def part(
    map: NormedMap,
    statistics: Statistics,
    out: Tensor,
    residual: Tensor | None = None,
    *,
    of_residual: Tensor | None = None,
    grad: Tensor | None = None,
    of_rows: Tensor | None = None,
) -> Normed:
    """A map that lies by pixels, as the kernels' argument; see ``Normed``.

    Args:
        of_rows: gets the gradients of weight and bias, ``(2, C)``.
    """
    x, weight, bias, running_mean, running_var, _, batches = map
    channels, pixels = x.shape[1], x.numel() // x.shape[1]
    steps = [0 if y is None else pixel_step(y) for y in (x, grad, out, residual, of_residual)]
    unit = 1 if any(number % 8 for number in (channels, *steps)) else 8
    columns = _columns(channels)
    tiles = triton.cdiv(pixels, TILE // columns)
    length = triton.cdiv(tiles, MOST_SPLITS.value)
    partials = torch.empty(triton.cdiv(tiles, length), 2, channels, dtype=torch.float32, device=x.device)
    of_weight, of_bias = (None, None) if of_rows is None else of_rows
    return Normed(  # type: ignore[call-arg]
        x, grad, out, residual, of_residual, partials, weight, bias, *statistics, running_mean, running_var,
        of_weight, of_bias, batches, *(step // unit for step in steps), channels // unit, pixels, length,
        tl.constexpr(columns), tl.constexpr(unit),
    )  # fmt: skip


def launch(kernel: Any, parts: Sequence[Normed], *settings: float) -> None:
    """A kernel over one map or two."""
    programs = 0
    for of in parts:
        splits, _, channels = of.partials.shape
        programs += splits * triton.cdiv(channels, of.columns.value)
    first, second = [*parts, None][:2]
    kernel[(programs,)](first, second, *settings, TILE, num_warps=WARPS)


def _columns(channels: int) -> int:
    """Of a program: few enough that none is idle, where a power of two of 16 or more divides the channels.

    No more than 64: the rows of partials of more would not fit into the registers.
    """
    whole = channels & -channels
    return min(whole if whole >= 16 else triton.next_power_of_2(channels), 64)
