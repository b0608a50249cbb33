"""Sums of convolutions in one launch: at once, or as an operation of torch's for whoever traces.

``torch.compile`` and ``torch.export`` write ``octvideo::sums`` down instead of looking into it; what it gives, they ask
the function registered as its fake. It writes into no memory but its own, and knows no gradient.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from octvideo.engines.geometry import Geometry
from octvideo.engines.images import by_pixels
from octvideo.engines.interface import Convolutions, Epilogue, Read
from octvideo.engines.triton.problem import Job, constants, empty, run

Found = list[tuple[Tensor, Tensor | None]]


class Asked(NamedTuple):
    """A sum that is asked for.

    Args:
        convolutions: of clips; weights ``(C_out, C_in, kT, kH, kW)``.
        reads: what each of them reads.
        epilogue: what follows.
        size: of the sum in T, H and W.
    """

    convolutions: Convolutions
    reads: Sequence[Read]
    epilogue: Epilogue
    size: Sequence[int]

    @property
    def shape(self) -> tuple[int, ...]:
        """``(B, C_out, T, H, W)``."""
        weight = self.convolutions.weights[0]
        channels = weight.shape[1 if self.convolutions.transposed else 0]
        return (len(self.reads[0].x), channels, *(1, *self.size)[-3:])


def compute(asked: Sequence[Asked], dtype: torch.dtype) -> Found:
    """Each sum and its averages, or None; computed in, and given as, ``dtype``."""
    jobs = []
    for one in asked:
        residual, first = one.epilogue.residual, one.reads[0].x
        is_own = one.epilogue.overwrite and residual is not None and _has_room(residual, dtype)
        out = residual if is_own else empty(one.shape, dtype, first)
        assert out is not None
        weights, bias, _, transposed = one.convolutions
        jobs.append(Job(out, bias, one.epilogue, one.reads, weights, transposed=transposed))
    weights, _, geometries, transposed = asked[0].convolutions
    run(jobs, constants(geometries[0], weights[0].shape[2:], dtype, backwards=transposed))
    return [(job.out, job.pooled) for job in jobs]


def write_down(asked: Sequence[Asked], dtype: torch.dtype) -> Found:
    """The same as one operation of torch's."""
    geometry = asked[0].convolutions.geometries[0]
    epilogues = [one.epilogue for one in asked]
    reads = [read for one in asked for read in one.reads]
    flat = list(
        torch.ops.octvideo.sums(
            [read.x for read in reads],
            [float(read.scale) for read in reads],
            [weight for one in asked for weight in one.convolutions.weights],
            [len(one.reads) for one in asked],
            [one.convolutions.bias for one in asked],
            [epilogue.residual for epilogue in epilogues],
            [epilogue.up for epilogue in epilogues],
            [epilogue.relu for epilogue in epilogues],
            [epilogue.pool for epilogue in epilogues],
            [side for one in asked for side in (1, *one.size)[-3:]],
            [*geometry.stride[:1], *geometry.padding[:1]] if len(geometry.stride) == 3 else [1, 0],
            asked[0].convolutions.transposed,
            dtype,
        )
    )
    return [(flat.pop(0), flat.pop(0) if epilogue.pool else None) for epilogue in epilogues]


def _asked(
    inputs: list[Tensor],
    scales: list[float],
    weights: list[Tensor],
    counts: list[int],
    biases: list[Tensor | None],
    residuals: list[Tensor | None],
    ups: list[Tensor | None],
    relus: list[bool],
    pools: list[bool],
    sizes: list[int],
    in_time: list[int],
    transposed: bool,
) -> list[Asked]:
    """What ``write_down`` was given."""
    geometry = Geometry((in_time[0], 1, 1), (in_time[1], 0, 0), (1, 1, 1))
    asked, first = [], 0
    for number, count in enumerate(counts):
        some = slice(first, first + count)
        first += count
        convolutions = Convolutions(weights[some], biases[number], [geometry] * count, transposed)
        reads = [Read(x, scale) for x, scale in zip(inputs[some], scales[some], strict=True)]
        epilogue = Epilogue(residuals[number], ups[number], relus[number], pool=pools[number])
        asked.append(Asked(convolutions, reads, epilogue, sizes[3 * number : 3 * number + 3]))
    return asked


def _flat(found: Found) -> list[Tensor]:
    return [part for pair in found for part in pair if part is not None]


_SCHEMA = """(
    Tensor[] inputs, float[] scales, Tensor[] weights, int[] counts, Tensor?[] biases, Tensor?[] residuals,
    Tensor?[] ups, bool[] relus, bool[] pools, SymInt[] sizes, int[] in_time, bool transposed, ScalarType dtype
) -> Tensor[]"""


@torch.library.custom_op("octvideo::sums", mutates_args=(), schema=" ".join(_SCHEMA.split()))
def _sums(*arguments: Any) -> list[Tensor]:
    *flat, dtype = arguments
    return _flat(compute(_asked(*flat), dtype))


@_sums.register_fake
def _(*arguments: Any) -> list[Tensor]:
    *flat, dtype = arguments
    found: Found = []
    for one in _asked(*flat):
        *maps, height, width = one.shape
        pooled = (*maps, -(-height // 2), -(-width // 2)) if one.epilogue.pool else None
        like = one.reads[0].x
        found.append((empty(one.shape, dtype, like), None if pooled is None else empty(pooled, dtype, like)))
    return _flat(found)


def _has_room(residual: Tensor, dtype: torch.dtype) -> bool:
    """Whether a residual's memory can become the sum's."""
    return residual.dtype == dtype and by_pixels(residual) is residual
