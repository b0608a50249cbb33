"""The gradient of a layer's weight, block by block: ``sum over pixels of grad * x`` for every pixel of the kernel.

A program has some output channels as rows and some input channels as columns of one block, and goes over some pixels;
programs of other pixels add theirs. Where a block reads averages, or what it gave was repeated, it goes over the pixels
of the smaller map, and reads averages of its input, or sums of its output's gradient.
"""

import triton
import triton.language as tl

from octvideo.engines.triton.kernels.pixels import multiply, place, read


@triton.jit
def weight_gradients(
    grad_a, a, grad_b, b, grad_c, c, grad_d, d, kernel, images, steps,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Add up to four blocks' gradients, float32: of a ``Source`` of the output's gradient and one of the input each.

    The result's memory is the input's ``weight``. A program goes over ``steps`` times DEPTH pixels.
    """
    program = _block(tl.program_id(0), grad_a, a, kernel, images, steps, ROWS, COLUMNS, DEPTH)
    if b is not None:
        program = _block(program, grad_b, b, kernel, images, steps, ROWS, COLUMNS, DEPTH)
    if c is not None:
        program = _block(program, grad_c, c, kernel, images, steps, ROWS, COLUMNS, DEPTH)
    if d is not None:
        program = _block(program, grad_d, d, kernel, images, steps, ROWS, COLUMNS, DEPTH)


@triton.jit
def _block(
    program, grad, source, kernel, images, steps,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Be the block's program of this number, if it has one; gives the number among those of the blocks behind it."""
    channels, inputs = grad.channels * grad.unit, source.channels * source.unit
    height, width = grad.height, grad.width
    if grad.scale == 0.5:
        height, width = (height + 1) // 2, (width + 1) // 2
    row_blocks, column_blocks = tl.cdiv(channels, ROWS), tl.cdiv(inputs, COLUMNS)
    tiles = row_blocks * column_blocks * kernel.size[0] * kernel.size[1] * kernel.size[2]
    programs = tiles * tl.cdiv(images * grad.frames * height * width, steps * DEPTH)
    if (program >= 0) & (program < programs):
        tile = program % tiles
        tap = tile // (row_blocks * column_blocks)
        row = tile // column_blocks % row_blocks * ROWS + tl.arange(0, ROWS)
        column = tile % column_blocks * COLUMNS + tl.arange(0, COLUMNS)
        kt = tap // (kernel.size[1] * kernel.size[2])
        kh, kw = tap // kernel.size[2] % kernel.size[1], tap % kernel.size[2]
        total = tl.zeros((ROWS, COLUMNS), tl.float32)
        for i in range(steps):
            pixel = (program // tiles * steps + i) * DEPTH + tl.arange(0, DEPTH)
            map, y, x, there = place(images * grad.frames, pixel, height, width)
            given = read(grad, map * grad.height, y, x, there, row, True)
            at = map % grad.frames * kernel.stride[0] + kt - kernel.padding[0]
            line = (map // grad.frames * source.frames + at) * source.height
            ay = y * kernel.stride[1] + kh - kernel.padding[1]
            ax = x * kernel.stride[2] + kw - kernel.padding[2]
            there = there & (at >= 0) & (at < source.frames)
            number = read(source, line, ay, ax, there, column, False)
            total = multiply(tl.trans(given), number, total, kernel)
        to = row[:, None].to(tl.int64) * (source.row * source.weight_unit) + column[None, :] * source.column
        to += (kt * source.tap[0] + kh * source.tap[1] + kw * source.tap[2]) * source.weight_unit
        tl.atomic_add(source.weight + to, total, (row < channels)[:, None] & (column < inputs)[None, :])
    return program - programs
