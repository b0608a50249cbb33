"""What runs on the device: sums of convolutions of channels-last clips with all that is behind them, in one pass.

    out = relu(sum of conv(read(x), w) + bias + upsample(up) + residual),    pooled = average2x2(out)

An implicit product of matrices: a program has some pixels as rows and some output channels as columns, and goes over
the input channels under each pixel of the kernel. A source is read as it is, averaged over 2x2 pixels, or repeated to
twice its height and width; repeated ones are multiplied at their own size, and only the sums are repeated. Where four
pixels belong together (something is repeated, or averages are asked for), rows come in fours: those of one low pixel.

Two sums may share a launch: the low output's programs run beside those of the same pixels' high output, so that what
both read comes out of memory once, and out of the second cache after that.

Numbers of channels and strides are counted in ``unit``, 8 wherever that divides them: then Triton knows that 16 bytes
can be loaded at a time.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl


class Source(NamedTuple):
    """A convolution's input and weight.

    Args:
        x: the clip's numbers; ``x_pixel`` from one pixel to the next, in units.
        weight: its numbers; ``row``, ``column``, ``tap`` (T, H, W) are strides.
        channels: of the input, in units.
        frames, height, width: of the input.
        scale: 1, or 0.5 where averages of the input are read, or 2 where the sum is repeated.
        unit: of channels and of ``x_pixel``; ``weight_unit``: of ``row`` and ``tap``.
    """

    x: Any
    weight: Any
    x_pixel: Any
    row: Any
    column: Any
    tap: Any
    channels: Any
    frames: Any
    height: Any
    width: Any
    scale: Any
    unit: Any
    weight_unit: Any


class Target(NamedTuple):
    """A sum, and what is behind its convolutions; pointers are None for what there is not.

    Args:
        out: ``out_pixel`` numbers from one pixel to the next, in units, as for the others.
        bias: one number a channel.
        residual: of the size of ``out``.
        up: at half the size, added to four pixels each.
        pooled: at half the size.
        channels: in units.
        images, frames, height, width: of the sum.
        relu: whether a ReLU is last.
        quads: whether rows come in fours.
        unit: of channels and steps.
    """

    out: Any
    bias: Any
    residual: Any
    up: Any
    pooled: Any
    out_pixel: Any
    residual_pixel: Any
    up_pixel: Any
    pooled_pixel: Any
    channels: Any
    images: Any
    frames: Any
    height: Any
    width: Any
    relu: Any
    quads: Any
    unit: Any


class Kernel(NamedTuple):
    """What all convolutions of a launch have in common; all of it known when the kernel is compiled.

    Args:
        size, stride, padding: in T, H, W.
        backwards: whether the sum is the gradient of the convolutions' input: pixels of the kernel reversed, averages
            sums, and repetitions divided by what they average.
        dtype: to which numbers are rounded.
        multiplied: in which they are multiplied: that, but in the interpreter, which would multiply bfloat16's bits.
        precision: of float32: ``tf32`` or ``ieee``.
    """

    size: Any
    stride: Any
    padding: Any
    backwards: Any
    dtype: Any
    multiplied: Any
    precision: Any


@triton.jit
def sums(
    first, first_a, first_b, second, second_a, second_b, kernel,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """One or two targets, each of up to two sources; the second target has half the first one's height and width.

    A target without sources is finished: what is behind its convolutions is done to what ``out`` holds.
    """
    program = tl.program_id(0)
    first_columns = tl.cdiv(first.channels * first.unit, COLUMNS)
    if second is None:
        _sum(first, first_a, first_b, kernel, program // first_columns, program % first_columns,
             ROWS, COLUMNS, DEPTH)  # fmt: skip
    else:
        # The pixels of a block of the second are those of four blocks of the first.
        second_columns = tl.cdiv(second.channels * second.unit, COLUMNS)
        group = program // (4 * first_columns + second_columns)
        place = program % (4 * first_columns + second_columns)
        if place < 4 * first_columns:
            _sum(first, first_a, first_b, kernel, 4 * group + place // first_columns, place % first_columns,
                 ROWS, COLUMNS, DEPTH)  # fmt: skip
        else:
            _sum(second, second_a, second_b, kernel, group, place - 4 * first_columns, ROWS, COLUMNS, DEPTH)


@triton.jit
def _sum(
    to, a, b, kernel, row_block, column_block,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    channel = column_block * COLUMNS + tl.arange(0, COLUMNS)
    row = tl.arange(0, ROWS)
    LOW: tl.constexpr = ROWS // 4
    if to.quads:
        low = row_block * LOW + row // 4
        low_map, low_y, low_x, there = _place(to, low, (to.height + 1) // 2, (to.width + 1) // 2)
        y, x = 2 * low_y + row % 4 // 2, 2 * low_x + row % 2
        map, there = low_map, there & (y < to.height) & (x < to.width)
        # The low pixels themselves, and how many pixels each has.
        low = row_block * LOW + tl.arange(0, LOW)
        low_map, low_y, low_x, low_there = _place(to, low, (to.height + 1) // 2, (to.width + 1) // 2)
        count = _count(to, low_y, low_x)
    else:
        map, y, x, there = _place(to, row_block * ROWS + row, to.height, to.width)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    repeated = tl.zeros((LOW, COLUMNS), tl.float32)
    known = channel < to.channels * to.unit
    pixel = ((map * to.height + y) * to.width + x).to(tl.int64)[:, None]
    inside = there[:, None] & known[None, :]
    if a is None:
        place = pixel * (to.out_pixel * to.unit) + channel[None, :]
        total += tl.load(to.out + place, inside, 0.0).to(tl.float32)
    elif a.scale == 2:
        repeated = _add(repeated, to, a, kernel, low_map, low_y, low_x, low_there, channel, DEPTH)
    else:
        total = _add(total, to, a, kernel, map, y, x, there, channel, DEPTH)
    if b is not None:
        if b.scale == 2:
            repeated = _add(repeated, to, b, kernel, low_map, low_y, low_x, low_there, channel, DEPTH)
        else:
            total = _add(total, to, b, kernel, map, y, x, there, channel, DEPTH)
    if to.quads:
        if kernel.backwards:
            repeated /= count[:, None]
        if to.up is not None:
            place = low.to(tl.int64)[:, None] * (to.up_pixel * to.unit) + channel[None, :]
            repeated += tl.load(to.up + place, low_there[:, None] & known[None, :], 0.0).to(tl.float32)
        fours = tl.reshape(total, (LOW, 4, COLUMNS)) + tl.expand_dims(repeated, 1)
        total = tl.reshape(fours, (ROWS, COLUMNS))
    if to.bias is not None:
        total += tl.load(to.bias + channel, known, 0.0).to(tl.float32)[None, :]
    if to.residual is not None:
        place = pixel * (to.residual_pixel * to.unit) + channel[None, :]
        total += tl.load(to.residual + place, inside, 0.0).to(tl.float32)
    if to.relu:
        total = tl.where(total < 0, 0.0, total)  # what is no number stays none, as in torch
    number = total.to(to.out.dtype.element_ty)
    tl.store(to.out + pixel * (to.out_pixel * to.unit) + channel[None, :], number, inside)
    if to.pooled is not None:
        fours = tl.reshape(tl.where(there[:, None], number.to(tl.float32), 0.0), (LOW, 4, COLUMNS))
        mean = tl.sum(fours, 1) / count[:, None]
        place = low.to(tl.int64)[:, None] * (to.pooled_pixel * to.unit) + channel[None, :]
        tl.store(to.pooled + place, mean.to(to.out.dtype.element_ty), low_there[:, None] & known[None, :])


@triton.jit
def _place(to, pixel, height, width):
    """Which map, line and column a pixel is, counted over all maps of this size; and whether there is such a one."""
    map = pixel // (height * width)
    return map, pixel // width % height, pixel % width, map < to.images * to.frames


@triton.jit
def _count(to, low_y, low_x):
    """How many pixels of the target a low pixel has: four, and fewer at odd borders."""
    return (tl.minimum(to.height - 2 * low_y, 2) * tl.minimum(to.width - 2 * low_x, 2)).to(tl.float32)


@triton.jit
def _add(total, to, source, kernel, map, y, x, there, channel, DEPTH: tl.constexpr):
    """Add a convolution at these places of its own output."""
    image, t = map // to.frames, map % to.frames
    channels = source.channels * source.unit
    blocks = tl.cdiv(channels, DEPTH)
    for i in range(blocks * kernel.size[0] * kernel.size[1] * kernel.size[2]):
        tap, depth = i // blocks, i % blocks * DEPTH + tl.arange(0, DEPTH)
        kt = tap // (kernel.size[1] * kernel.size[2])
        kh, kw = tap // kernel.size[2] % kernel.size[1], tap % kernel.size[2]
        if kernel.backwards:
            at, ay, ax = t + kernel.padding[0] - kt, y + kernel.padding[1] - kh, x + kernel.padding[2] - kw
        else:
            at = t * kernel.stride[0] + kt - kernel.padding[0]
            ay = y * kernel.stride[1] + kh - kernel.padding[1]
            ax = x * kernel.stride[2] + kw - kernel.padding[2]
        line = (image * source.frames + at) * source.height
        frame_there = there & (at >= 0) & (at < source.frames)
        if source.scale == 0.5:
            number = _read(source, line, 2 * ay, 2 * ax, frame_there, depth).to(tl.float32)
            number += _read(source, line, 2 * ay, 2 * ax + 1, frame_there, depth).to(tl.float32)
            number += _read(source, line, 2 * ay + 1, 2 * ax, frame_there, depth).to(tl.float32)
            number += _read(source, line, 2 * ay + 1, 2 * ax + 1, frame_there, depth).to(tl.float32)
            if not kernel.backwards:
                number /= _count(source, ay, ax)[:, None]
        else:
            number = _read(source, line, ay, ax, frame_there, depth)
        place = (
            channel[None, :].to(tl.int64) * (source.row * source.weight_unit) + depth[:, None] * source.column
        )
        place += (kt * source.tap[0] + kh * source.tap[1] + kw * source.tap[2]) * source.weight_unit
        known = (depth < channels)[:, None] & (channel < to.channels * to.unit)[None, :]
        weight = tl.load(source.weight + place, known, 0.0)
        total = _multiply(number, weight, total, kernel)
    return total


@triton.jit
def _multiply(a, b, total, kernel):
    a, b = a.to(kernel.dtype).to(kernel.multiplied), b.to(kernel.dtype).to(kernel.multiplied)
    return tl.dot(a, b, total, input_precision=kernel.precision)


@triton.jit
def _read(source, line, y, x, there, depth):
    there = there & (y >= 0) & (y < source.height) & (x >= 0) & (x < source.width)
    pixel = ((line + y) * source.width + x).to(tl.int64)[:, None]
    place = pixel * (source.x_pixel * source.unit) + depth[None, :]
    return tl.load(source.x + place, there[:, None] & (depth < source.channels * source.unit)[None, :], 0.0)


@triton.jit
def weight_gradient(
    grad, to, source, kernel, steps,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Add the gradient of a weight, float32, for one of its pixels: ``sum over pixels of grad * x``.

    A program has some output channels as rows and some input channels as columns, and goes over ``steps`` blocks of
    pixels; programs of other pixels add theirs. ``to.out`` is the gradient of the output, ``source.weight`` the result.
    """
    channels, inputs = to.channels * to.unit, source.channels * source.unit
    tile = tl.program_id(0)
    column_blocks = tl.cdiv(inputs, COLUMNS)
    row_blocks = tl.cdiv(channels, ROWS)
    tap = tile // (column_blocks * row_blocks)
    row = tile // column_blocks % row_blocks * ROWS + tl.arange(0, ROWS)
    column = tile % column_blocks * COLUMNS + tl.arange(0, COLUMNS)
    kt = tap // (kernel.size[1] * kernel.size[2])
    kh, kw = tap // kernel.size[2] % kernel.size[1], tap % kernel.size[2]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for i in range(steps):
        pixel = (tl.program_id(1) * steps + i) * DEPTH + tl.arange(0, DEPTH)
        map, y, x, there = _place(to, pixel, to.height, to.width)
        at = map % to.frames * kernel.stride[0] + kt - kernel.padding[0]
        line = (map // to.frames * source.frames + at) * source.height
        number = _read(
            source, line, y * kernel.stride[1] + kh - kernel.padding[1],
            x * kernel.stride[2] + kw - kernel.padding[2], there & (at >= 0) & (at < source.frames), column,
        )  # fmt: skip
        place = pixel.to(tl.int64)[None, :] * (to.out_pixel * to.unit) + row[:, None]
        given = tl.load(grad + place, there[None, :] & (row < channels)[:, None], 0.0)
        total = _multiply(given, number, total, kernel)
    place = row[:, None].to(tl.int64) * (source.row * source.weight_unit) + column[None, :] * source.column
    place += (kt * source.tap[0] + kh * source.tap[1] + kw * source.tap[2]) * source.weight_unit
    tl.atomic_add(source.weight + place, total, (row < channels)[:, None] & (column < inputs)[None, :])
