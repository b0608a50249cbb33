"""A plan carried out by an engine: every output is one sum of convolutions.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from octvideo.engines.interface import Convolutions, Engine, Epilogue, Read, Sum
from octvideo.engines.reference import finish
from octvideo.engines.resample import downsample, fold, num_averaged, upsample
from octvideo.layers.plan import Plan
from octvideo.layers.schedule import Shared
from octvideo.layers.term import Term


class Maps:
    """A layer's inputs and their averages, each made once.

    Args:
        inputs: by frequency, ``(B, C, T, H, W)``.
        pooled: ``downsample(high)``, where it is there already.
        folds: whether sums stand for averages: the inputs are gradients.
    """

    def __init__(
        self, inputs: Mapping[str, Tensor], pooled: Tensor | None = None, *, folds: bool = False
    ) -> None:
        self._made: dict[tuple[str, float], Tensor] = {(name, 1): x for name, x in inputs.items()}
        self._shrink = fold if folds else downsample
        if pooled is not None:
            self._made["high", 0.5] = pooled

    def has(self, name: str, scale: float) -> bool:
        """Whether an input is there at a scale."""
        return (name, scale) in self._made

    def read(self, name: str, before: float, after: float = 1) -> Read:
        """An input at a size, repeated or not, for an engine that resamples what it reads.

        Averages that are there already are a quarter of what they are of; the engine makes the others as it reads.
        """
        if after == 1 and before == 0.5 and not self.has(name, before):
            return Read(self.at(name, 1), before)
        return Read(self.at(name, before), after)

    def at(self, name: str, scale: float) -> Tensor:
        """An input at 1, 1/2 or 1/4 of its size."""
        if (name, scale) not in self._made:
            x = self._made[name, 1]
            if scale == 0.25 and (x.shape[-2] % 2 or x.shape[-1] % 2):
                y = downsample(x, 4)  # the authors average once; at even sizes twice is the same
            else:
                y = self._shrink(self.at(name, 2 * scale))
            self._made[name, scale] = y
        return self._made[name, scale]


class PlannedSums:
    """The outputs of a plan for given weights.

    Args:
        plan: of the layer, or of its inputs' gradients.
        weight: the layer's, high rows and columns first.
        bias: ``(C_out,)``, high rows first, or None.
        engine: what computes.
    """

    def __init__(self, plan: Plan, weight: Tensor, bias: Tensor | None, engine: Engine) -> None:
        self.plan = plan
        self.schedule = plan.schedules[not engine.is_one_pass]
        biases = biases_of(plan, bias)

        def prepare(terms: Sequence[Term], bias: Tensor | None) -> Sum:
            return engine.sum(convolutions_of(plan, terms, weight, bias))

        self._shared = [prepare([s.union], _shared_bias(s, biases)) for s in self.schedule.shared]
        self._sums = {
            (out, step.level): prepare(step.terms, biases.get(out) if step.has_bias else None)
            for out, steps in self.schedule.steps.items()
            for step in steps
            if step.terms
        }

    def __call__(
        self,
        maps: Maps,
        sizes: Mapping[str, Sequence[int]],
        residuals: Mapping[str, Tensor | None] | None = None,
        relus: Sequence[str] = (),
        overwrite: Sequence[str] = (),
        pool: Sequence[str] = (),
    ) -> dict[str, Tensor]:
        """The outputs by name, and under "pooled" the averages of the one that ``pool`` names.

        Args:
            maps: the inputs.
            sizes: of the outputs in T, H and W, where they do not follow from the inputs': what was averaged or
                repeated may have had an odd border.
            residuals: what is added to each output, of its shape.
            relus, overwrite: outputs that end with a ReLU, and those that may take their residual's memory.
        """
        parts = self._parts(maps, sizes)
        outputs: dict[str, Tensor] = {}
        for out, steps in self.schedule.steps.items():
            y: Tensor | None = None
            for level, terms, _ in steps:
                size = _at_level(sizes.get(out), level)
                part, up, share = parts.get((out, level)), y, 1.0 if y is None else self._share(y, size)
                residual = residuals.get(out) if residuals and level == 1 else None
                is_ours = out in overwrite and residual is not None
                if up is not None and self.plan.is_linear:
                    residual, is_ours = _add(residual, upsample(up, size[-2:] or None, "linear"), is_ours)
                    up = None
                relu, pools = level == 1 and out in relus, level == 1 and out in pool
                pooled = None
                if terms:
                    residual, is_ours = _add(residual, part, is_ours)
                    inputs = [maps.at(term.into, term.before) for term in terms]
                    y, pooled = self._sums[out, level](
                        inputs, Epilogue(residual, up, relu, is_ours, pools, share), size
                    )
                elif part is not None:  # shared convolutions gave all of it
                    y, pooled = finish(part, Epilogue(residual, up, relu, pool=pools, share=share))
                else:  # it is repeated once more
                    up = Epilogue(up=up, share=share).shared().up
                    y = residual if up is None else upsample(up, size[-2:] or None)
                if pooled is not None:
                    outputs["pooled"] = pooled
            assert y is not None
            outputs[out] = y
        return outputs

    def _parts(self, maps: Maps, sizes: Mapping[str, Sequence[int]]) -> dict[tuple[str, float], Tensor]:
        """What shared convolutions give to each output, at each level."""
        parts: dict[tuple[str, float], Tensor] = {}
        for run, (_, terms) in zip(self._shared, self.schedule.shared, strict=True):
            first = terms[0][0]
            size = _at_level(sizes.get(first.out), first.after)
            y, _ = run([maps.at(first.into, first.before)], Epilogue(), size)
            counts = [len(t.columns if self.plan.is_backwards else t.rows) for t, _ in terms]
            for (term, _), part in zip(terms, y.split(counts, 1), strict=True):
                part, level = (downsample(part), 1.0) if term.after == 0.5 else (part, term.after)
                key = term.out, level
                parts[key] = parts[key] + part if key in parts else part
        return parts

    def _share(self, y: Tensor, size: Sequence[int]) -> float:
        """Of ``y``, what each pixel of ``size`` gets: backwards, its share of the gradient of its average."""
        if not self.plan.is_backwards:
            return 1.0
        count = num_averaged(y, (size[-2], size[-1]))
        if isinstance(count, float):
            return 1 / count
        y.div_(count)  # at an odd border the shares differ
        return 1.0


def biases_of(plan: Plan, bias: Tensor | None) -> dict[str, Tensor]:
    """The part of a layer's bias that each output has; nothing where there is none."""
    if bias is None:
        return {}
    parts = bias.split([len(rows) for rows in plan.channels.values()])
    return dict(zip(plan.channels, parts, strict=True))


def convolutions_of(plan: Plan, terms: Sequence[Term], weight: Tensor, bias: Tensor | None) -> Convolutions:
    """Terms of a plan as one sum; ``bias`` is the sum's own."""
    blocks, geometries = [term.block(weight) for term in terms], [term.geometry for term in terms]
    return Convolutions(blocks, bias, geometries, plan.is_backwards)


def _at_level(size: Sequence[int] | None, level: float) -> tuple[int, ...]:
    """A map of ``size`` before it is repeated ``level`` times a side; empty where it is not known."""
    return () if size is None else (*size[:-2], *(-(-n // int(level)) for n in size[-2:]))


def _add(x: Tensor | None, y: Tensor | None, overwrite: bool) -> tuple[Tensor | None, bool]:
    """The sum of what is there, and whether its memory is ours."""
    if x is None or y is None:
        return (y, False) if x is None else (x, overwrite)
    return (x.add_(y) if overwrite else x + y), True


def _shared_bias(shared: Shared, biases: Mapping[str, Tensor]) -> Tensor | None:
    """Nothing for outputs that have their bias elsewhere."""
    if not biases or not any(has_bias for _, has_bias in shared.terms):
        return None
    return torch.cat(
        [biases[t.out] if has_bias else torch.zeros_like(biases[t.out]) for t, has_bias in shared.terms]
    )
