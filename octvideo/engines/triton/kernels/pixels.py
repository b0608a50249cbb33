"""How kernels find the pixels of clips, read and multiply their numbers."""

import triton
import triton.language as tl


@triton.jit
def place(maps, pixel, height, width):
    """Which map, line and column a pixel is, counted over all maps of this size; and whether there is such a one."""
    map = pixel // (height * width)
    return map, pixel // width % height, pixel % width, map < maps


@triton.jit
def count(of, low_y, low_x):
    """How many pixels of a map a low pixel has: four, and fewer at odd borders."""
    return (tl.minimum(of.height - 2 * low_y, 2) * tl.minimum(of.width - 2 * low_x, 2)).to(tl.float32)


@triton.jit
def read(source, line, y, x, there, channel, folds):
    """Numbers ``(pixels, channels)`` of the map that a convolution goes over.

    That is the source itself, or the averages of its 2x2 pixels; their sums where it ``folds``.
    """
    if source.scale == 0.5:
        number = _read(source, line, 2 * y, 2 * x, there, channel).to(tl.float32)
        number += _read(source, line, 2 * y, 2 * x + 1, there, channel).to(tl.float32)
        number += _read(source, line, 2 * y + 1, 2 * x, there, channel).to(tl.float32)
        number += _read(source, line, 2 * y + 1, 2 * x + 1, there, channel).to(tl.float32)
        if not folds:
            number /= count(source, y, x)[:, None]
    else:
        number = _read(source, line, y, x, there, channel)
    return number


@triton.jit
def _read(source, line, y, x, there, channel):
    there = there & (y >= 0) & (y < source.height) & (x >= 0) & (x < source.width)
    pixel = ((line + y) * source.width + x).to(tl.int64)[:, None]
    place = pixel * (source.x_pixel * source.unit) + channel[None, :]
    return tl.load(source.x + place, there[:, None] & (channel < source.channels * source.unit)[None, :], 0.0)


@triton.jit
def multiply(a, b, total, kernel):
    a, b = a.to(kernel.dtype).to(kernel.multiplied), b.to(kernel.dtype).to(kernel.multiplied)
    return tl.dot(a, b, total, input_precision=kernel.precision)
