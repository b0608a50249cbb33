"""What a layer's training step computes by an engine: outputs, gradients of inputs, gradient of the weight.

With ``A`` for an average and ``R`` for a repetition, a term of the plan gives ``R(conv(A(x), W))``. So

    gradient of x = A^T(conv^T(R^T(gradient of the output), W))
    gradient of W = gradient of conv's weight, from A(x) and R^T(gradient of the output)

where ``R^T`` sums over the pixels that a repetition made, and ``A^T`` gives each pixel its share of the average's.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from octvideo.engines import TORCH
from octvideo.engines.interface import Block, Engine
from octvideo.layers.plan import Plan
from octvideo.layers.sums import Maps
from octvideo.layers.term import Term
from octvideo.layers.together import prepare


def outputs(
    plan: Plan, engine: Engine, inputs: Mapping[str, Tensor], weight: Tensor, bias: Tensor | None
) -> dict[str, Tensor]:
    """A layer's outputs by frequency."""
    sizes = {}
    if "high" in inputs and any(term.after > 1 for term in plan.terms):
        sizes["high"] = inputs["high"].shape[2:]
    return prepare(plan, weight, bias, engine)(Maps(inputs), sizes)


class Gradients(NamedTuple):
    """Of the inputs that they were asked for, by frequency, and of the weight, if that was."""

    inputs: dict[str, Tensor]
    weight: Tensor | None


def gradients(
    plan: Plan,
    engine: Engine,
    grads: Sequence[Tensor],
    inputs: Mapping[str, Tensor],
    weight: Tensor,
    wanted: Sequence[str],
    *,
    computed: Tensor | None = None,
    wants_weight: bool,
) -> Gradients:
    """Of a layer's inputs and weight, from those of its outputs.

    Args:
        grads: in the plan's order; of the type in which the layer was computed.
        inputs, weight: the layer's.
        wanted: inputs whose gradient is asked for.
        computed: the weight in the type of ``grads``, where it is there already.
        wants_weight: whether the weight's is.
    """
    dtype = grads[0].dtype
    maps = Maps({name: x.to(dtype) for name, x in inputs.items()})
    folded = Maps(dict(zip(plan.channels, grads, strict=True)), folds=True)
    computed = (weight if computed is None else computed).to(dtype)
    of_inputs = _of_inputs(plan, engine, folded, maps, computed, wanted)
    cast = {name: y.to(inputs[name].dtype) for name, y in of_inputs.items()}
    return Gradients(cast, _of_weight(plan, engine, folded, maps, weight) if wants_weight else None)


def _of_inputs(
    plan: Plan, engine: Engine, grads: Maps, maps: Maps, weight: Tensor, wanted: Sequence[str]
) -> dict[str, Tensor]:
    backwards = plan.backwards(wanted)
    if not backwards.terms:
        return {}
    asked = backwards.request(grads.at(backwards.terms[0].into, 1), weight, trains=True)
    able = engine if engine.unavailable_reason(asked) is None else TORCH
    sizes = {name: maps.at(name, 1).shape[2:] for name in wanted}
    return prepare(backwards, weight, None, able)(grads, sizes)


def _of_weight(plan: Plan, engine: Engine, grads: Maps, maps: Maps, weight: Tensor) -> Tensor:
    if engine.weight_gradients is not None:
        blocks = [
            Block(t.rows, t.columns, grads.read(t.out, 1 / t.after), maps.read(t.into, t.before))
            for t in plan.terms
        ]
        whole = engine.weight_gradients(blocks, weight, [term.geometry for term in plan.terms])
        if whole is not None:
            return whole
    covered = sum(len(term.rows) * len(term.columns) for term in plan.terms)
    is_written = covered == weight.shape[0] * weight.shape[1]
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
