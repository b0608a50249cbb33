"""The gradient of a layer's weight in one launch; that of its input is a sum of convolutions.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from octvideo.engines.geometry import Geometry
from octvideo.engines.images import by_pixels
from octvideo.engines.interface import Block, Read
from octvideo.engines.triton.kernels.arguments import Source
from octvideo.engines.triton.kernels.weight_gradients import weight_gradients as kernel
from octvideo.engines.triton.problem import constants, source
from octvideo.engines.triton.tiles import GRADIENTS, Tile, choose, may_search

# Programs that share a launch's work: enough for the processors of a large GPU.
_PROGRAMS = 264


def weight_gradients(blocks: Sequence[Block], weight: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of a weight ``(C_out, C_in, kT, 1, 1)``, of its layout; zero where it has no block.

    Args:
        blocks: up to four, of clips.
        weight: the layer's.
        geometry: of all convolutions.
    """
    blocks = [
        block._replace(grad=_lying_by_pixels(block.grad), x=_lying_by_pixels(block.x)) for block in blocks
    ]
    total = torch.zeros_like(weight, dtype=torch.float32)
    search = may_search(total)
    trial = torch.empty_like(total) if search else total  # programs add, so what is timed adds elsewhere
    read = " ".join(
        f"{tuple(b.grad.x.shape)}x{b.grad.scale:g} {b.x.x.shape[1]}x{b.x.scale:g}" for b in blocks
    )
    key = f"weight {'x'.join(map(str, weight.shape))} of {read}, {blocks[0].grad.x.dtype}"
    tile = choose(key, GRADIENTS, lambda tile: launch(tile, blocks, trial, geometry), search=search)
    launch(tile, blocks, total, geometry)
    return total.to(weight.dtype)


def launch(tile: Tile, blocks: Sequence[Block], total: Tensor, geometry: Geometry) -> None:
    """The kernel, for clips that lie by pixels, and added to ``total``, of float32."""
    arguments: list[Source | None] = []
    works = []  # of each block, how many tiles its weight is cut into, and steps over its pixels
    for rows, columns, grad, x in blocks:
        part = total[rows.start : rows.stop, columns.start : columns.stop]
        arguments += [source(grad.x, None, grad.scale), source(x.x, part, x.scale)]
        tiles = (
            triton.cdiv(len(rows), tile.rows) * triton.cdiv(len(columns), tile.columns) * part[0, 0].numel()
        )
        works.append((tiles, triton.cdiv(_num_pixels(grad), tile.depth)))
    steps = triton.cdiv(sum(tiles * count for tiles, count in works), _PROGRAMS)
    programs = sum(tiles * triton.cdiv(count, steps) for tiles, count in works)
    first = blocks[0].grad.x
    kernel[(programs,)](
        *arguments, *[None] * (8 - len(arguments)), constants(geometry, total.shape[2:], first.dtype), len(first),
        steps, *tile[:3], num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip


def _lying_by_pixels(read: Read) -> Read:
    return read._replace(x=by_pixels(read.x))


def _num_pixels(grad: Read) -> int:
    """Of the map that a convolution gave, over the whole batch."""
    images, _, frames, height, width = grad.x.shape
    if grad.scale == 0.5:
        height, width = -(-height // 2), -(-width // 2)
    return images * frames * height * width
