"""An octave convolution with its gradient: the layer's plan, and the same plan read backwards.

With ``A`` for an average and ``R`` for a repetition, a term gives ``R(conv(A(x), W))``. So

    gradient of x = A^T(conv^T(R^T(gradient of the output), W))
    gradient of W = gradient of conv's weight, from A(x) and R^T(gradient of the output)

where ``R^T`` sums over the pixels that a repetition made, and ``A^T`` gives each pixel its share of the average's.

Autograd alone would pad each block's gradient to the dense size, write what comes from averages and repetitions out at
full resolution before adding it, and keep the averaged maps. Here what is small stays small until it is added, and maps
are averaged again.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from octvideo.engines import TORCH, choose
from octvideo.engines.interface import Engine, is_traced
from octvideo.engines.resample import needs_gradient
from octvideo.layers.plan import Plan, Term
from octvideo.layers.sums import Maps
from octvideo.layers.together import prepare


def convolve(
    plan: Plan, inputs: Mapping[str, Tensor], weight: Tensor, bias: Tensor | None
) -> dict[str, Tensor]:
    """The outputs of a layer by frequency, in training or not.

    Args:
        plan: the layer's.
        inputs: by frequency: high ``(B, C_high, T, H, W)``, low ``(B, C_low, T, ceil(H/2), ceil(W/2))``.
        weight: the dense weight ``(C_out, C_in / groups, kT, kH, kW)``, high rows and columns first.
        bias: ``(C_out,)``, high rows first, or None.
    """
    if is_traced():
        return _forward(plan, TORCH, inputs, weight, bias)
    engine = choose(plan.request(next(iter(inputs.values())), weight, trains=True))
    if not any(needs_gradient(part) for part in (*inputs.values(), weight, bias) if part is not None):
        return _forward(plan, engine, inputs, weight, bias)
    if not _has_own_gradient(plan, inputs, engine):
        return _forward(plan, TORCH, inputs, weight, bias)
    outputs = _Convolution.apply(plan, engine, tuple(inputs), weight, bias, *inputs.values())
    return dict(zip(plan.channels, outputs, strict=True))


def _has_own_gradient(plan: Plan, inputs: Mapping[str, Tensor], engine: Engine) -> bool:
    """Whether the gradient of this file is of use: what it does better than autograd, and what is exact."""
    if len(plan.terms) == 1 and plan.terms[0].before == plan.terms[0].after == 1 and engine is TORCH:
        return False  # a dense layer
    if plan.is_linear or (plan.is_strided and len(plan.terms) > 1):
        return False
    # An average over 4x4 is twice one over 2x2 where the map is even.
    quarters = [inputs[term.into] for term in plan.terms if term.before == 0.25]
    return not any(x.shape[-2] % 2 or x.shape[-1] % 2 for x in quarters)


def _forward(
    plan: Plan, engine: Engine, inputs: Mapping[str, Tensor], weight: Tensor, bias: Tensor | None
) -> dict[str, Tensor]:
    sizes = {}
    if "high" in inputs and any(term.after > 1 for term in plan.terms):
        sizes["high"] = inputs["high"].shape[2:]
    return prepare(plan, weight, bias, engine)(Maps(inputs), sizes)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, plan: Plan, engine: Engine, names: tuple[str, ...], weight: Tensor, bias: Tensor | None,
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        ctx.save_for_backward(weight, *inputs)
        ctx.plan, ctx.engine, ctx.names = plan, engine, names
        ctx.bias_dtype = None if bias is None else bias.dtype
        computed = _as_computed(weight)
        ctx.computed = None if computed is weight else computed
        return tuple(_forward(plan, engine, dict(zip(names, inputs, strict=True)), computed, bias).values())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        weight, *inputs = ctx.saved_tensors
        plan, names = ctx.plan, ctx.names
        _, _, _, wants_weight, wants_bias, *wants_inputs = ctx.needs_input_grad
        bias_grad = _bias_gradient(grads).to(ctx.bias_dtype) if wants_bias else None
        if torch.is_grad_enabled():  # for a gradient's gradient, operations that autograd knows
            wanted = [x for x in (weight, *inputs) if x.requires_grad]
            outputs = _forward(plan, TORCH, dict(zip(names, inputs, strict=True)), weight, None)
            found = torch.autograd.grad(tuple(outputs.values()), wanted, grads, create_graph=True)
            by_id = dict(zip(map(id, wanted), found, strict=True))
            return None, None, None, by_id.get(id(weight)), bias_grad, *(by_id.get(id(x)) for x in inputs)
        # Autocast ran the convolutions in the outputs' type.
        dtype = grads[0].dtype
        maps = Maps(dict(zip(names, (x.to(dtype) for x in inputs), strict=True)))
        folded = Maps(dict(zip(plan.channels, grads, strict=True)), folds=True)
        wanted_names = [name for name, wants in zip(names, wants_inputs, strict=True) if wants]
        computed = (weight if ctx.computed is None else ctx.computed).to(dtype)
        input_grads = _input_gradients(plan, ctx.engine, folded, maps, computed, wanted_names)
        weight_grad = _weight_gradient(plan, ctx.engine, folded, maps, weight) if wants_weight else None
        results = (input_grads.get(name) for name in names)
        cast = (None if y is None else y.to(x.dtype) for x, y in zip(inputs, results, strict=True))
        return None, None, None, weight_grad, bias_grad, *cast


def _input_gradients(
    plan: Plan, engine: Engine, grads: Maps, maps: Maps, weight: Tensor, wanted: list[str]
) -> dict[str, Tensor]:
    backwards = plan.backwards(wanted)
    if not backwards.terms:
        return {}
    asked = backwards.request(grads.at(backwards.terms[0].into, 1), weight, trains=True)
    able = engine if engine.unavailable_reason(asked) is None else TORCH
    sizes = {name: maps.at(name, 1).shape[2:] for name in wanted}
    return prepare(backwards, weight, None, able)(grads, sizes)


def _weight_gradient(plan: Plan, engine: Engine, grads: Maps, maps: Maps, weight: Tensor) -> Tensor:
    covered = sum(len(term.rows) * len(term.columns) for term in plan.terms)
    is_written = covered == weight.shape[0] * weight.shape[1] and not engine.adds_gradients
    whole = (torch.empty_like if is_written else torch.zeros_like)(weight)
    for union, terms in _by_map(plan, engine):
        parts = [grads.at(term.out, 1 / term.after) for term in terms]
        grad = torch.cat(parts, 1) if parts[1:] else parts[0]
        engine.weight_gradient(grad, maps.at(union.into, union.before), union.block(whole), union.geometry)
    return whole


def _by_map(plan: Plan, engine: Engine) -> Iterator[tuple[Term, Sequence[Term]]]:
    """The plan's convolutions, each with the terms it is of: one for all that read a map, as in the forward pass."""
    schedule = plan.schedules[not engine.is_one_pass]
    for union, terms in schedule.shared:
        yield union, [term for term, _ in terms]
    for steps in schedule.steps.values():
        for step in steps:
            yield from ((term, [term]) for term in step.terms)


def _as_computed(weight: Tensor) -> Tensor:
    """The weight in autocast's type where that is on, once: each convolution would cast its block."""
    kind = weight.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return weight.to(torch.get_autocast_dtype(kind)) if casts and weight.dtype == torch.float32 else weight


def _bias_gradient(grads: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([grad.transpose(0, 1).flatten(1).sum(1) for grad in grads])
