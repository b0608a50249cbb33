"""An octave convolution with its gradient: the layer's plan, and the same plan read backwards.

Autograd alone would pad each block's gradient to the dense size, write what comes from averages and repetitions out at
full resolution before adding it, and keep the averaged maps. Here what is small stays small until it is added, and maps
are averaged again (``octvideo.layers.step``).

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from octvideo.engines import TORCH, choose, choose_to_trace
from octvideo.engines.interface import Engine, computed_in, is_traced
from octvideo.engines.resample import needs_gradient
from octvideo.layers import operator
from octvideo.layers.plan import Plan
from octvideo.layers.step import gradients, outputs
from octvideo.layers.together import runs_at_once


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
        return _written_down(plan, inputs, weight, bias)
    engine = choose(plan.request(next(iter(inputs.values())), weight, trains=True))
    if not any(needs_gradient(part) for part in (*inputs.values(), weight, bias) if part is not None):
        return outputs(plan, engine, inputs, weight, bias)
    if not _has_own_gradient(plan, inputs, weight, engine):
        return outputs(plan, TORCH, inputs, weight, bias)
    found = _Convolution.apply(plan, engine, tuple(inputs), weight, bias, *inputs.values())
    return dict(zip(plan.channels, found, strict=True))


def _written_down(
    plan: Plan, inputs: Mapping[str, Tensor], weight: Tensor, bias: Tensor | None
) -> dict[str, Tensor]:
    """Torch's operations, or in a training one of octvideo's, where the engine that was asked for has one launch."""
    trains = torch.is_grad_enabled() and any(
        part.requires_grad for part in (*inputs.values(), weight, bias) if part is not None
    )
    if trains:
        x = next(iter(inputs.values()))
        engine = choose_to_trace(plan.request(x, weight, trains=True))
        if runs_at_once(plan, weight, engine) and _has_own_gradient(plan, inputs, weight, engine):
            return operator.convolve(plan, engine, inputs, weight, bias, computed_in(x))
    return outputs(plan, TORCH, inputs, weight, bias)


def _has_own_gradient(plan: Plan, inputs: Mapping[str, Tensor], weight: Tensor, engine: Engine) -> bool:
    """Whether the gradient of this file is of use: what it does better than autograd, and what is exact."""
    is_dense = len(plan.terms) == 1 and plan.terms[0].before == plan.terms[0].after == 1
    if (
        is_dense
        and engine.weight_gradient is TORCH.weight_gradient
        and not runs_at_once(plan, weight, engine)
    ):
        return False
    if plan.is_linear or (plan.is_strided and len(plan.terms) > 1):
        return False
    # An average over 4x4 is twice one over 2x2 where the map is even.
    quarters = [inputs[term.into] for term in plan.terms if term.before == 0.25]
    return not any(x.shape[-2] % 2 or x.shape[-1] % 2 for x in quarters)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, plan: Plan, engine: Engine, names: tuple[str, ...], weight: Tensor, bias: Tensor | None,
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        ctx.save_for_backward(weight, *inputs)
        ctx.plan, ctx.engine, ctx.names = plan, engine, names
        ctx.bias_dtype = None if bias is None else bias.dtype
        # In autocast's type once: each convolution would cast its block.
        computed = weight.to(computed_in(weight)) if weight.dtype == torch.float32 else weight
        ctx.computed = None if computed is weight else computed
        return tuple(outputs(plan, engine, dict(zip(names, inputs, strict=True)), computed, bias).values())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        weight, *inputs = ctx.saved_tensors
        plan, names = ctx.plan, ctx.names
        _, _, _, wants_weight, wants_bias, *wants_inputs = ctx.needs_input_grad
        bias_grad = operator.bias_gradient(grads).to(ctx.bias_dtype) if wants_bias else None
        by_name = dict(zip(names, inputs, strict=True))
        if torch.is_grad_enabled():  # for a gradient's gradient, operations that autograd knows
            wanted = [x for x in (weight, *inputs) if x.requires_grad]
            again = outputs(plan, TORCH, by_name, weight, None)
            derived = torch.autograd.grad(tuple(again.values()), wanted, grads, create_graph=True)
            by_id = dict(zip(map(id, wanted), derived, strict=True))
            return None, None, None, by_id.get(id(weight)), bias_grad, *(by_id.get(id(x)) for x in inputs)
        found = gradients(
            plan, ctx.engine, grads, by_name, weight,
            [name for name, wants in zip(names, wants_inputs, strict=True) if wants],
            computed=ctx.computed, wants_weight=wants_weight,
        )  # fmt: skip
        return None, None, None, found.weight, bias_grad, *map(found.inputs.get, names)
