"""The gradient of a convolution's weight; that of its input is a sum of convolutions.

B batch, C channels, T frames, H height, W width.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from octvideo.engines.geometry import Geometry
from octvideo.engines.images import by_pixels, pixel_step
from octvideo.engines.triton import kernels
from octvideo.engines.triton.problem import constants, source
from octvideo.engines.triton.tiles import GRADIENTS, Tile, choose, may_search

# Programs that share the pixels of one tile of the weight: enough for the processors of a large GPU.
_PROGRAMS = 264


def weight_gradient(grad: Tensor, x: Tensor, out: Tensor, geometry: Geometry) -> None:
    """Write a convolution's weight gradient into ``out``.

    Args:
        grad: of the convolution's output, ``(B, C_out, T, H, W)``.
        x: its input, ``(B, C_in, T, H, W)``.
        out: zeros ``(C_out, C_in, kT, kH, kW)``.
    """
    grad, x = by_pixels(grad), by_pixels(x)
    total = out if out.dtype == torch.float32 else torch.zeros_like(out, dtype=torch.float32)
    key = f"weight {'x'.join(map(str, out.shape))} of {tuple(grad.shape)}, {grad.dtype}"
    trial = (
        torch.empty_like(total) if may_search(out) else total
    )  # programs add, so what is timed adds elsewhere
    tile = choose(
        key, GRADIENTS, lambda tile: launch(tile, grad, x, trial, geometry), search=trial is not total
    )
    launch(tile, grad, x, total, geometry)
    if total is not out:
        out.copy_(total)


def launch(tile: Tile, grad: Tensor, x: Tensor, out: Tensor, geometry: Geometry) -> None:
    """The kernel, for tensors that lie by pixels, and added to ``out``, of float32."""
    images, channels, *size = grad.shape
    step = pixel_step(grad)
    unit = 1 if channels % 8 or step % 8 else 8
    to = kernels.Target(  # type: ignore[call-arg]
        grad, None, None, None, None, step // unit, 0, 0, 0, channels // unit, images, *size,
        tl.constexpr(False), tl.constexpr(False), tl.constexpr(unit),
    )  # fmt: skip
    tiles = triton.cdiv(channels, tile.rows) * triton.cdiv(x.shape[1], tile.columns) * out[0, 0].numel()
    blocks = triton.cdiv(grad.numel() // channels, tile.depth)
    steps = triton.cdiv(blocks, max(_PROGRAMS // tiles, 1))
    kernels.weight_gradient[(tiles, triton.cdiv(blocks, steps))](
        grad, to, source(x, out, 1), constants(geometry, out.shape[2:], grad.dtype), steps, *tile[:3],
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
