"""Batch norm and ReLU of two maps, forward and backward: each first sums over pixels, then goes over them again.

    y = relu(weight * n + bias + residual),   n = (x - mean) / deviation
    gradient of x = weight / deviation * (g - mean of g - n * mean of (g * n)),   g = gradient of y where y > 0

A program has some channels of a map and some of its pixels. What it has summed up is a row of ``partials``; the second
kernel's programs put the rows of their channels together, and the first of them writes what is kept. Statistics are
summed as differences to the mean of a program's first pixels, so that large means take no digits from small deviations,
and put together as Chan, Golub and LeVeque do: https://doi.org/10.1080/00031305.1983.10483115.
"""

import triton
import triton.language as tl

MOST_SPLITS = tl.constexpr(128)  # rows of partials


@triton.jit
def statistics(first, second, TILE: tl.constexpr):
    """Mean and sum of squared differences to it, of each program's pixels."""
    program = _statistics(tl.program_id(0), first, TILE)
    if second is not None:
        _statistics(program, second, TILE)


@triton.jit
def normalise(first, second, momentum, eps, relu: tl.constexpr, TILE: tl.constexpr):
    """Statistics of all pixels, running ones, and the outputs."""
    program = _normalise(tl.program_id(0), first, momentum, eps, relu, TILE)
    if second is not None:
        _normalise(program, second, momentum, eps, relu, TILE)


@triton.jit
def gradient_sums(first, second, relu: tl.constexpr, TILE: tl.constexpr):
    """Sums of g and of g * n, over each program's pixels."""
    program = _gradient_sums(tl.program_id(0), first, relu, TILE)
    if second is not None:
        _gradient_sums(program, second, relu, TILE)


@triton.jit
def gradients(first, second, relu: tl.constexpr, TILE: tl.constexpr):
    """Of weights and biases, and of the maps."""
    program = _gradients(tl.program_id(0), first, relu, TILE)
    if second is not None:
        _gradients(program, second, relu, TILE)


@triton.jit
def _statistics(program, of, TILE: tl.constexpr):
    split, column, known, programs = _share(program, of, TILE)
    if (program >= 0) & (program < programs):
        most = of.steps * (TILE // of.columns)
        count = tl.minimum(of.pixels - split * most, most)
        at, there = _tile(of, split, 0, known, TILE)
        some = tl.minimum(count, TILE // of.columns).to(tl.float32)
        shift = tl.sum(_load(of.x, of.x_pixel, of, at, column, there), 0) / some
        total = tl.zeros((TILE // of.columns, of.columns), tl.float32)
        square = tl.zeros((TILE // of.columns, of.columns), tl.float32)
        for i in range(of.steps):
            at, there = _tile(of, split, i, known, TILE)
            number = _load(of.x, of.x_pixel, of, at, column, there) - shift[None, :]
            number = tl.where(there, number, 0.0)
            total += number
            square += number * number
        mean = tl.sum(total, 0) / count
        _keep(of, split, column, known, shift + mean, tl.sum(square, 0) - count * mean * mean)
    return program - programs


@triton.jit
def _normalise(program, of, momentum, eps, relu: tl.constexpr, TILE: tl.constexpr):
    split, column, known, programs = _share(program, of, TILE)
    if (program >= 0) & (program < programs):
        row = tl.arange(0, MOST_SPLITS)
        most = of.steps * (TILE // of.columns)
        counts = tl.maximum(tl.minimum(of.pixels - row * most, most), 0).to(tl.float32)[:, None]
        means, squares = _partials(of, column, known, TILE)
        mean = tl.sum(counts * means, 0) / of.pixels
        apart = means - mean[None, :]
        variance = tl.maximum(tl.sum(squares + counts * apart * apart, 0) / of.pixels, 0.0)
        inverse = 1.0 / tl.sqrt(variance + eps)
        if of.batches is not None:  # noqa: SIM102 (known when the kernel is compiled)
            if program == 0:
                tl.store(of.batches, tl.load(of.batches) + 1)
        if split == 0:
            tl.store(of.mean + column, mean, known)
            tl.store(of.inverse + column, inverse, known)
            if of.running_mean is not None:
                unbiased = variance * (of.pixels / (of.pixels - 1.0))
                _move(of.running_mean + column, mean, momentum, known)
                _move(of.running_var + column, unbiased, momentum, known)
        weight = tl.load(of.weight + column, known, 0.0).to(tl.float32)[None, :]
        bias = tl.load(of.bias + column, known, 0.0).to(tl.float32)[None, :]
        for i in range(of.steps):
            at, there = _tile(of, split, i, known, TILE)
            number = _load(of.x, of.x_pixel, of, at, column, there)
            y = (number - mean[None, :]) * inverse[None, :] * weight + bias
            if of.residual is not None:
                y += _load(of.residual, of.residual_pixel, of, at, column, there)
            if relu:
                y = tl.where(y < 0, 0.0, y)  # what is no number stays none, as in torch
            _store(of.out, of.out_pixel, of, at, column, there, y)
    return program - programs


@triton.jit
def _number_and_grad(of, at, column, there, mean, inverse, weight, bias, relu: tl.constexpr):
    """Normalised numbers, and the gradients of what the norm made of them."""
    number = (_load(of.x, of.x_pixel, of, at, column, there) - mean) * inverse
    grad = _load(of.grad, of.grad_pixel, of, at, column, there)
    if relu:
        grad = _behind(of, at, column, there, grad, number * weight + bias)
    return number, grad


@triton.jit
def _gradient_sums(program, of, relu: tl.constexpr, TILE: tl.constexpr):
    split, column, known, programs = _share(program, of, TILE)
    if (program >= 0) & (program < programs):
        mean, inverse, weight, bias = _known(of, column, known)
        total = tl.zeros((TILE // of.columns, of.columns), tl.float32)
        product = tl.zeros((TILE // of.columns, of.columns), tl.float32)
        for i in range(of.steps):
            at, there = _tile(of, split, i, known, TILE)
            number, grad = _number_and_grad(of, at, column, there, mean, inverse, weight, bias, relu)
            total += grad
            product += grad * number
        _keep(of, split, column, known, tl.sum(total, 0), tl.sum(product, 0))
    return program - programs


@triton.jit
def _gradients(program, of, relu: tl.constexpr, TILE: tl.constexpr):
    split, column, known, programs = _share(program, of, TILE)
    if (program >= 0) & (program < programs):
        totals, products = _partials(of, column, known, TILE)
        total, product = tl.sum(totals, 0), tl.sum(products, 0)
        if split == 0:
            tl.store(of.of_weight + column, product.to(of.of_weight.dtype.element_ty), known)
            tl.store(of.of_bias + column, total.to(of.of_bias.dtype.element_ty), known)
        mean, inverse, weight, bias = _known(of, column, known)
        total, product = (total / of.pixels)[None, :], (product / of.pixels)[None, :]
        for i in range(of.steps):
            at, there = _tile(of, split, i, known, TILE)
            number, grad = _number_and_grad(of, at, column, there, mean, inverse, weight, bias, relu)
            if of.of_residual is not None:
                _store(of.of_residual, of.of_residual_pixel, of, at, column, there, grad)
            number = weight * inverse * (grad - total - number * product)
            _store(of.out, of.out_pixel, of, at, column, there, number)
    return program - programs


@triton.jit
def _share(program, of, TILE: tl.constexpr):
    """A program's part of the pixels, its channels, which of these there are; and how many programs a map has."""
    blocks = tl.cdiv(of.channels * of.unit, of.columns)
    column = program % blocks * of.columns + tl.arange(0, of.columns)
    programs = blocks * tl.cdiv(of.pixels, of.steps * (TILE // of.columns))
    return program // blocks, column, column < of.channels * of.unit, programs


@triton.jit
def _tile(of, split, i, known, TILE: tl.constexpr):
    """Numbers of the pixels of a program's i-th tile, and which of its places there are."""
    pixel = (split * of.steps + i) * (TILE // of.columns) + tl.arange(0, TILE // of.columns)
    return pixel.to(tl.int64)[:, None], (pixel < of.pixels)[:, None] & known[None, :]


@triton.jit
def _load(numbers, step, of, at, column, there):
    return tl.load(numbers + at * (step * of.unit) + column[None, :], there, 0.0).to(tl.float32)


@triton.jit
def _store(numbers, step, of, at, column, there, number):
    tl.store(numbers + at * (step * of.unit) + column[None, :], number.to(numbers.dtype.element_ty), there)


@triton.jit
def _behind(of, at, column, there, grad, y):
    """The gradient of what the ReLU took, ``y`` if nothing was added to that."""
    if of.residual is not None:
        y = _load(of.residual, of.residual_pixel, of, at, column, there)
    return tl.where(y <= 0, 0.0, grad)


@triton.jit
def _known(of, column, known):
    """Mean, inverse deviation, weight and bias, as rows."""
    mean, inverse = tl.load(of.mean + column, known, 0.0), tl.load(of.inverse + column, known, 0.0)
    weight, bias = tl.load(of.weight + column, known, 0.0), tl.load(of.bias + column, known, 0.0)
    return mean[None, :], inverse[None, :], weight.to(tl.float32)[None, :], bias.to(tl.float32)[None, :]


@triton.jit
def _keep(of, split, column, known, first, second):
    """A program's row of partials."""
    row = of.partials + split * 2 * (of.channels * of.unit)
    tl.store(row + column, first, known)
    tl.store(row + of.channels * of.unit + column, second, known)


@triton.jit
def _partials(of, column, known, TILE: tl.constexpr):
    """All rows of some channels; zeros where there is no row."""
    row = tl.arange(0, MOST_SPLITS)
    there = (row < tl.cdiv(of.pixels, of.steps * (TILE // of.columns)))[:, None] & known[None, :]
    place = of.partials + row[:, None] * 2 * (of.channels * of.unit) + column[None, :]
    return tl.load(place, there, 0.0), tl.load(place + of.channels * of.unit, there, 0.0)


@triton.jit
def _move(place, number, momentum, known):
    before = tl.load(place, known, 0.0).to(tl.float32)
    tl.store(place, ((1 - momentum) * before + momentum * number).to(place.dtype.element_ty), known)
