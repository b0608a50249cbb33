"""Sums of convolutions as the kernels' arguments, and their launch.

B batch, C channels, T frames, H height, W width.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from octvideo.engines.geometry import Geometry
from octvideo.engines.images import by_pixels, pixel_step
from octvideo.engines.interface import Convolutions, Epilogue, Read
from octvideo.engines.triton.interpreter import is_interpreted
from octvideo.engines.triton.kernels.arguments import Kernel, Source, Target
from octvideo.engines.triton.kernels.sums import sums
from octvideo.engines.triton.tiles import SUMS, Tile, choose, may_search

_TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


class Job:
    """One sum: what it reads, its memory, and what the kernel is told of them.

    Args:
        out: ``(B, C_out, T, H, W)``, lying by pixels: gets the sum. Without convolutions, the sum so far.
        bias: ``(C_out,)`` or None.
        epilogue: what follows.
        reads: clips.
        weights: of each, ``(C_out, C_in, kT, kH, kW)``.
        transposed: as of ``Convolutions``.
    """

    def __init__(
        self, out: Tensor, bias: Tensor | None, epilogue: Epilogue, reads: Sequence[Read] = (),
        weights: Sequence[Tensor] = (), *, transposed: bool = False,
    ) -> None:  # fmt: skip
        self.out, self.bias, self.weights, self.transposed = out, bias, weights, transposed
        self.reads = [Read(by_pixels(x), scale) for x, scale in reads]
        residual, up, self.relu, _, pool, self.share = epilogue
        self.residual, self.up = (None if part is None else by_pixels(part) for part in (residual, up))
        half = [-(-side // 2) for side in out.shape[3:]]
        self.pooled = empty((*out.shape[:3], *half), out.dtype, out) if pool else None
        self.is_quads = up is not None or pool or any(scale == 2 for _, scale in reads)

    def sources(self) -> list[Source | None]:
        found = [
            source(x, weight, scale, transposed=self.transposed)
            for (x, scale), weight in zip(self.reads, self.weights, strict=True)
        ]
        return [*found, None, None][:2]

    def elsewhere(self) -> "Job":
        """The same with other memory for the sum."""
        job = copy.copy(self)
        job.out = torch.empty_like(self.out)
        return job

    def blocks(self, tile: Tile) -> tuple[int, int]:
        """Of pixels and of channels."""
        frames, height, width = self.out.shape[2:]
        maps = len(self.out) * frames
        if self.is_quads:
            rows = triton.cdiv(maps * -(-height // 2) * -(-width // 2), tile.rows // 4)
        else:
            rows = triton.cdiv(maps * height * width, tile.rows)
        return rows, triton.cdiv(self.out.shape[1], tile.columns)

    @property
    def key(self) -> str:
        """What decides which tile is the fastest."""
        inputs = " ".join(f"{x.shape[1]}x{scale:g}" for x, scale in self.reads)
        behind = (
            f"{len(self.out)}x{'x'.join(map(str, self.out.shape[2:]))}{' quads' if self.is_quads else ''}"
            f"{' residual' if self.residual is not None else ''}"
        )
        return f"{inputs} to {self.out.shape[1]}, {behind}, {self.out.dtype}"


def run(jobs: Sequence[Job], kernel: Kernel) -> None:
    """Compute one or two jobs."""
    key = " and ".join(job.key for job in jobs) + f", {'x'.join(str(size.value) for size in kernel.size)}"
    search = may_search(jobs[0].out)
    # What is run to be timed may not write where a sum is to be read later.
    trials = [job.elsewhere() for job in jobs] if search else []
    _launch(jobs, kernel, choose(key, SUMS, lambda tile: _launch(trials, kernel, tile), search=search))


def _launch(jobs: Sequence[Job], kernel: Kernel, tile: Tile) -> None:
    arguments: list[Any] = []
    for job in jobs:
        arguments += [target(job), *job.sources()]
    arguments += [None] * (6 - len(arguments))
    rows, columns = jobs[0].blocks(tile)
    programs = rows * columns
    if jobs[1:]:
        others, other_columns = jobs[1].blocks(tile)
        programs = max(triton.cdiv(rows, 4), others) * (4 * columns + other_columns)
    sums[(programs,)](*arguments, kernel, *tile[:3], num_warps=tile.warps, num_stages=tile.stages)


def out_size(convolutions: Convolutions, reads: Sequence[Read]) -> tuple[int, ...]:
    """T, H and W of a sum, as they follow from its inputs."""
    found = {}
    for (x, scale), weight, geometry in zip(
        reads, convolutions.weights, convolutions.geometries, strict=True
    ):
        frames, *sides = x.shape[2:]
        sides = [-(-side // 2) for side in sides] if scale == 0.5 else sides
        geometry = Geometry((1, *geometry.stride)[-3:], (0, *geometry.padding)[-3:], (1, 1, 1))
        frames, *sides = geometry.out_size((frames, *sides), weight.shape[2:])
        found[scale] = (frames, *(2 * side if scale == 2 else side for side in sides))
    return found[min(found)]  # what is repeated may be one pixel larger than what it is added to


def source(x: Tensor, weight: Tensor | None, scale: float, *, transposed: bool = False) -> Source:
    """A clip that lies by pixels, and a weight ``(C_out, C_in, kT, kH, kW)``, if any, read where it lies."""
    row, column, *taps = (0,) * 5 if weight is None else weight.stride()
    if transposed:
        row, column = column, row
    if weight is not None:
        # The stride of an axis of one pixel says nothing, and would hide from Triton that all others are even.
        taps = [step if size > 1 else 0 for step, size in zip(taps, weight.shape[2:], strict=True)]
    unit, weight_unit = _unit(x.shape[1], pixel_step(x)), _unit(row, *taps)
    return Source(  # type: ignore[call-arg]
        x, weight, pixel_step(x) // unit, row // weight_unit, column, tuple(tap // weight_unit for tap in taps),
        x.shape[1] // unit, *x.shape[2:], tl.constexpr(scale), tl.constexpr(unit), tl.constexpr(weight_unit),
    )  # fmt: skip


def target(job: Job) -> Target:
    images, channels, *size = job.out.shape
    parts = (job.out, job.residual, job.up, job.pooled)
    steps = [0 if part is None else pixel_step(part) for part in parts]
    unit = _unit(channels, *steps)
    return Target(  # type: ignore[call-arg]
        job.out, job.bias, job.residual, job.up, job.share, job.pooled, *(step // unit for step in steps),
        channels // unit, images, *size, tl.constexpr(job.relu), tl.constexpr(job.is_quads), tl.constexpr(unit),
    )  # fmt: skip


def constants(
    geometry: Geometry, size: Sequence[int], dtype: torch.dtype, *, backwards: bool = False
) -> Kernel:
    """What is known when the kernel is compiled; float32 is multiplied as torch does it."""
    stride, padding = (1, *geometry.stride)[-3:], (0, *geometry.padding)[-3:]
    three = (tuple(map(tl.constexpr, numbers)) for numbers in (size, stride, padding))
    precision = "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
    is_bits = is_interpreted() and dtype == torch.bfloat16
    types = _TYPES[dtype], tl.float32 if is_bits else _TYPES[dtype]
    return Kernel(*three, *map(tl.constexpr, (backwards, *types, precision)))


def empty(shape: Sequence[int], dtype: torch.dtype, like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=torch.channels_last_3d)


def _unit(*numbers: int) -> int:
    return 1 if any(number % 8 for number in numbers) else 8
