"""A layer in a training as one operation of torch's, for whoever traces: ``octvideo::convolution`` and its gradient.

``torch.compile`` and ``torch.export`` write them down instead of looking into them, ask the functions registered as
their fakes what they give, and differentiate the first by the second. They are for engines that compute a layer in one
launch; what such an engine is given is in the operations' arguments: the plan as text.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from octvideo.engines import ENGINES
from octvideo.engines.interface import Engine
from octvideo.layers.plan import FREQUENCIES, Plan
from octvideo.layers.step import gradients, outputs

_LAYER = "Tensor? high, Tensor? low, Tensor weight"
_HOW = "str plan, str engine, ScalarType dtype"


def convolve(
    plan: Plan,
    engine: Engine,
    inputs: Mapping[str, Tensor],
    weight: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """The outputs of a layer by frequency, computed in, and given as, ``dtype``."""
    found = torch.ops.octvideo.convolution(
        inputs.get("high"), inputs.get("low"), weight, bias, plan.text, engine.name, dtype
    )
    return dict(zip(plan.channels, found, strict=True))


def bias_gradient(grads: Sequence[Tensor]) -> Tensor:
    """From those of a layer's outputs."""
    return torch.cat([grad.transpose(0, 1).flatten(1).sum(1) for grad in grads])


@torch.library.custom_op(
    "octvideo::convolution", mutates_args=(), schema=f"({_LAYER}, Tensor? bias, {_HOW}) -> Tensor[]"
)
def _convolution(
    high: Tensor | None, low: Tensor | None, weight: Tensor, bias: Tensor | None, plan: str, engine: str,
    dtype: torch.dtype,
) -> list[Tensor]:  # fmt: skip
    inputs = _by_name(high, low)
    with _computing_in(dtype, weight):
        found = outputs(Plan.of(plan), ENGINES[engine], inputs, weight, bias)
    return [_laid_out(y) for y in found.values()]


@_convolution.register_fake
def _(
    high: Tensor | None, low: Tensor | None, weight: Tensor, bias: Tensor | None, plan: str, engine: str,
    dtype: torch.dtype,
) -> list[Tensor]:  # fmt: skip
    inputs = _by_name(high, low)
    return [
        weight.new_empty(shape, dtype=dtype).to(memory_format=_layout(weight))
        for shape in _shapes(Plan.of(plan), inputs, weight)
    ]


@torch.library.custom_op(
    "octvideo::convolution_gradients",
    mutates_args=(),
    schema=f"(Tensor[] grads, {_LAYER}, bool[] wanted, {_HOW}) -> Tensor[]",
)
def _gradients(
    grads: list[Tensor], high: Tensor | None, low: Tensor | None, weight: Tensor, wanted: list[bool], plan: str,
    engine: str, dtype: torch.dtype,
) -> list[Tensor]:  # fmt: skip
    """Of those of high, low and weight that are ``wanted``, in this order."""
    inputs, names = _by_name(high, low), _wanted(wanted)
    with _computing_in(dtype, weight):
        found = gradients(
            Plan.of(plan), ENGINES[engine], grads, inputs, weight, names, wants_weight=wanted[2]
        )
    given = [_laid_out(found.inputs[name]) for name in names]
    return given if found.weight is None else [*given, found.weight]


@_gradients.register_fake
def _(
    grads: list[Tensor], high: Tensor | None, low: Tensor | None, weight: Tensor, wanted: list[bool], plan: str,
    engine: str, dtype: torch.dtype,
) -> list[Tensor]:  # fmt: skip
    inputs = _by_name(high, low)
    given = [torch.empty_like(inputs[name], memory_format=_layout(weight)) for name in _wanted(wanted)]
    return [*given, torch.empty_like(weight)] if wanted[2] else given


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    high, low, weight, bias, *ctx.how = inputs
    ctx.save_for_backward(high, low, weight)
    ctx.bias_dtype = None if bias is None else bias.dtype


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[Tensor | None, ...]:
    high, low, weight = ctx.saved_tensors
    *wanted, wants_bias = ctx.needs_input_grad[:4]
    read = {term.into for term in Plan.of(ctx.how[0]).terms}  # what no term reads has no gradient
    wanted[:2] = (wants and name in read for name, wants in zip(FREQUENCIES, wanted[:2], strict=True))
    found = iter(torch.ops.octvideo.convolution_gradients(grads, high, low, weight, wanted, *ctx.how))
    bias_grad = bias_gradient(grads).to(ctx.bias_dtype) if wants_bias else None
    return *(next(found) if wants else None for wants in wanted), bias_grad, None, None, None


_convolution.register_autograd(_backward, setup_context=_keep)


def _by_name(high: Tensor | None, low: Tensor | None) -> dict[str, Tensor]:
    return {name: x for name, x in zip(FREQUENCIES, (high, low), strict=True) if x is not None}


def _wanted(wanted: Sequence[bool]) -> list[str]:
    return [name for name, wants in zip(FREQUENCIES, wanted[:2], strict=True) if wants]


def _computing_in(dtype: torch.dtype, weight: Tensor) -> torch.autocast:
    """Autocast as it was where the operation was written down: it is off where a compiled graph runs."""
    return torch.autocast(weight.device.type, dtype, enabled=dtype != weight.dtype)


def _layout(weight: Tensor) -> torch.memory_format:
    return torch.channels_last_3d if weight.dim() == 5 else torch.channels_last


def _laid_out(y: Tensor) -> Tensor:
    return y.contiguous(memory_format=_layout(y))


def _shapes(plan: Plan, inputs: Mapping[str, Tensor], weight: Tensor) -> list[tuple[int, ...]]:
    """Of the outputs."""
    shapes = []
    for out, rows in plan.channels.items():
        # What is repeated may be a pixel larger than what it is added to.
        term = min((term for term in plan.terms if term.out == out), key=lambda term: term.after)
        x = inputs[term.into]
        side = int(1 / term.before)
        sizes = (*x.shape[2:-2], *(-(-n // side) for n in x.shape[-2:]))
        *frames, height, width = term.geometry.out_size(sizes, weight.shape[2:])
        repeated = int(term.after)
        shapes.append((len(x), len(rows), *frames, repeated * height, repeated * width))
    return shapes
