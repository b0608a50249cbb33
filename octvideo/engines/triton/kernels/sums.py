"""Sums of convolutions with all that is behind them, in one pass.

    out = relu(sum of conv(read(x), w) + bias + upsample(up) + residual),    pooled = average2x2(out)

An implicit product of matrices: a program has some pixels as rows and some output channels as columns, and goes over
the input channels under each pixel of the kernel. A source is read as it is, averaged over 2x2 pixels, or repeated to
twice its height and width; repeated ones are multiplied at their own size, and only the sums are repeated. Where four
pixels belong together (something is repeated, or averages are asked for), rows come in fours: those of one low pixel.

Two sums may share a launch: the low output's programs run beside those of the same pixels' high output, so that what
both read comes out of memory once, and out of the second cache after that.
"""

import triton
import triton.language as tl

from octvideo.engines.triton.kernels.pixels import count, multiply, place, read


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
        behind = program % (4 * first_columns + second_columns)
        if behind < 4 * first_columns:
            _sum(first, first_a, first_b, kernel, 4 * group + behind // first_columns, behind % first_columns,
                 ROWS, COLUMNS, DEPTH)  # fmt: skip
        else:
            _sum(second, second_a, second_b, kernel, group, behind - 4 * first_columns, ROWS, COLUMNS, DEPTH)


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
        low_map, low_y, low_x, there = place(
            to.images * to.frames, low, (to.height + 1) // 2, (to.width + 1) // 2
        )
        y, x = 2 * low_y + row % 4 // 2, 2 * low_x + row % 2
        map, there = low_map, there & (y < to.height) & (x < to.width)
        # The low pixels themselves, and how many pixels each has.
        low = row_block * LOW + tl.arange(0, LOW)
        low_map, low_y, low_x, low_there = place(
            to.images * to.frames, low, (to.height + 1) // 2, (to.width + 1) // 2
        )
        averaged = count(to, low_y, low_x)
    else:
        map, y, x, there = place(to.images * to.frames, row_block * ROWS + row, to.height, to.width)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    repeated = tl.zeros((LOW, COLUMNS), tl.float32)
    known = channel < to.channels * to.unit
    pixel = ((map * to.height + y) * to.width + x).to(tl.int64)[:, None]
    inside = there[:, None] & known[None, :]
    if a is None:
        at = pixel * (to.out_pixel * to.unit) + channel[None, :]
        total += tl.load(to.out + at, inside, 0.0).to(tl.float32)
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
            repeated /= averaged[:, None]
        if to.up is not None:
            at = low.to(tl.int64)[:, None] * (to.up_pixel * to.unit) + channel[None, :]
            up = tl.load(to.up + at, low_there[:, None] & known[None, :], 0.0).to(tl.float32)
            repeated += to.share * up
        fours = tl.reshape(total, (LOW, 4, COLUMNS)) + tl.expand_dims(repeated, 1)
        total = tl.reshape(fours, (ROWS, COLUMNS))
    if to.bias is not None:
        total += tl.load(to.bias + channel, known, 0.0).to(tl.float32)[None, :]
    if to.residual is not None:
        at = pixel * (to.residual_pixel * to.unit) + channel[None, :]
        total += tl.load(to.residual + at, inside, 0.0).to(tl.float32)
    if to.relu:
        total = tl.where(total < 0, 0.0, total)  # what is no number stays none, as in torch
    number = total.to(to.out.dtype.element_ty)
    tl.store(to.out + pixel * (to.out_pixel * to.unit) + channel[None, :], number, inside)
    if to.pooled is not None:
        fours = tl.reshape(tl.where(there[:, None], number.to(tl.float32), 0.0), (LOW, 4, COLUMNS))
        mean = tl.sum(fours, 1) / averaged[:, None]
        at = low.to(tl.int64)[:, None] * (to.pooled_pixel * to.unit) + channel[None, :]
        tl.store(to.pooled + at, mean.to(to.out.dtype.element_ty), low_there[:, None] & known[None, :])


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
        number = read(source, line, ay, ax, frame_there, depth, kernel.backwards)
        place = (
            channel[None, :].to(tl.int64) * (source.row * source.weight_unit) + depth[:, None] * source.column
        )
        place += (kt * source.tap[0] + kh * source.tap[1] + kw * source.tap[2]) * source.weight_unit
        known = (depth < channels)[:, None] & (channel < to.channels * to.unit)[None, :]
        weight = tl.load(source.weight + place, known, 0.0)
        total = multiply(number, weight, total, kernel)
    return total
