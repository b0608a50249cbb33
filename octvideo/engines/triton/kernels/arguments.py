"""What kernels are told of clips and weights: numbers known when a kernel is compiled are ``tl.constexpr``."""

from typing import Any, NamedTuple


class Source(NamedTuple):
    """A convolution's input and weight, or weight's gradient; or the gradient of its output, and no weight.

    Args:
        x: the clip's numbers; ``x_pixel`` from one pixel to the next, in units.
        weight: its numbers; ``row``, ``column``, ``tap`` (T, H, W) are strides.
        channels: of the input, in units.
        frames, height, width: of the input.
        scale: 1, or 0.5 where averages of the input are read (sums of a gradient), or 2 where the sum is repeated.
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
        up: at half the size, times ``share`` added to four pixels each.
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
    share: Any
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


class Normed(NamedTuple):
    """A map that lies by pixels, and its rows of a norm; of what a kernel has no use for, pointers are None.

    Args:
        x: the map's numbers; ``x_pixel`` from one pixel to the next, in units, as for the others.
        grad: the gradient of the output.
        out: the output, or the gradient of the map.
        residual: what is added in front of the ReLU; backward, what came out where there was one.
        of_residual: gets its gradient.
        partials: float32 ``(splits, 2, channels)``.
        weight, bias, mean, inverse, running_mean, running_var: one number a channel.
        of_weight, of_bias: their gradients.
        batches: one integer, which is counted up.
        channels: in units.
        pixels: of all clips.
        steps: how many tiles of pixels a program goes over.
        columns: channels of a program.
        unit: of channels and steps between pixels.
    """

    x: Any
    grad: Any
    out: Any
    residual: Any
    of_residual: Any
    partials: Any
    weight: Any
    bias: Any
    mean: Any
    inverse: Any
    running_mean: Any
    running_var: Any
    of_weight: Any
    of_bias: Any
    batches: Any
    x_pixel: Any
    grad_pixel: Any
    out_pixel: Any
    residual_pixel: Any
    of_residual_pixel: Any
    channels: Any
    pixels: Any
    steps: Any
    columns: Any
    unit: Any
