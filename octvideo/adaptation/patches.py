"""What a convolution sees at single places of its output, as rows of a matrix.

N places, G groups, K numbers that a group's rows are made of: the kernel's places times the group's channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from octvideo.layers.plan import Plan
from octvideo.layers.sums import Maps
from octvideo.layers.term import Term


def draw_places(size: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """Different places of a map, `int64 (N, axes)`, at most `count`.

    Args:
        size: of the map, `(T, H, W)`.
    """
    number = int(torch.tensor(size).prod())
    chosen = torch.randperm(number, generator=generator)[:count]
    return torch.stack(torch.unravel_index(chosen, tuple(size)), 1)


def at_places(x: Tensor, places: Tensor) -> Tensor:
    """`(1, C, T, H, W)` at places `(N, 3)`: `(N, C)`."""
    return x[0].movedim(0, -1)[tuple(places.unbind(1))]


def plan_rows(plan: Plan, out: str, maps: Maps, kernel: Sequence[int], places: Tensor) -> Tensor:
    """What all terms of an output read at its places, `(N, G, K)`, K over the terms in their order."""
    return torch.cat([_term_rows(t, maps, kernel, places) for t in plan.terms if t.out == out], 2)


def _term_rows(term: Term, maps: Maps, kernel: Sequence[int], places: Tensor) -> Tensor:
    x, geometry = maps.at(term.into, term.before)[0], term.geometry
    if term.after != 1:  # one result for 2x2 places
        places = torch.cat([places[:, :-2], places[:, -2:] // int(term.after)], 1)
    padding = [p for pair in zip(geometry.padding[::-1], geometry.padding[::-1], strict=True) for p in pair]
    pixels = F.pad(x, padding).movedim(0, -1)  # (T, H, W, C): the channels of a pixel lie together
    index = []
    for axis, size in enumerate(kernel):
        taps = places[:, axis, None] * geometry.stride[axis] + torch.arange(size) * geometry.dilation[axis]
        shape = [len(places), *(1 for _ in kernel)]
        shape[axis + 1] = size
        index.append(taps.view(shape).to(x.device))
    rows = pixels[tuple(index)]  # (N, kT, kH, kW, C)
    rows = rows.unflatten(-1, (geometry.groups, -1)).movedim(-2, 1)
    return rows.flatten(2)


def weight_rows(plan: Plan, out: str, weight: Tensor) -> Tensor:
    """The weight of an output as `plan_rows` has its columns: `(G, rows of a group, K)`.

    Args:
        weight: high rows and columns first.
    """
    parts = []
    for term in plan.terms:
        if term.out == out:
            block = term.block(weight).unflatten(0, (term.geometry.groups, -1))
            parts.append(block.movedim(2, -1).flatten(2))
    return torch.cat(parts, 2)


def put_weight_rows(plan: Plan, out: str, weight: Tensor, rows: Tensor) -> None:
    """Writes what `weight_rows` reads, in place."""
    first = 0
    for term in plan.terms:
        if term.out == out:
            block = term.block(weight)
            shape = (*block.shape[2:], block.shape[1])
            count = int(torch.tensor(shape).prod())
            part = rows[..., first : first + count].unflatten(-1, shape).movedim(-1, 2)
            block.copy_(part.flatten(0, 1))
            first += count
