"""A plan carried out by an engine that resamples what it reads: all outputs of a layer in one launch.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from octvideo.engines.interface import Engine, Epilogue, Together
from octvideo.layers.plan import Plan
from octvideo.layers.sums import Maps, PlannedSums, biases_of, convolutions_of


def prepare(plan: Plan, weight: Tensor, bias: Tensor | None, engine: Engine) -> "PlannedSums | JointSums":
    """The outputs of a plan for given weights: in one launch where the engine knows how, else sum by sum."""
    joint = _joint(plan, weight, bias, engine)
    return PlannedSums(plan, weight, bias, engine) if joint is None else JointSums(plan, joint)


def runs_at_once(plan: Plan, weight: Tensor, engine: Engine) -> bool:
    """Whether the engine has one launch for the plan."""
    return _joint(plan, weight, None, engine) is not None


def _joint(plan: Plan, weight: Tensor, bias: Tensor | None, engine: Engine) -> Together | None:
    if engine.together is None or plan.is_linear or any(term.after not in (1, 2) for term in plan.terms):
        return None
    biases = biases_of(plan, bias)
    return engine.together(
        [
            convolutions_of(plan, [term for term in plan.terms if term.out == out], weight, biases.get(out))
            for out in plan.channels
        ]
    )


class JointSums:
    """The outputs of a plan, together; called as ``PlannedSums`` are."""

    def __init__(self, plan: Plan, run: Together) -> None:
        self.plan, self.run = plan, run

    def __call__(
        self,
        maps: Maps,
        sizes: Mapping[str, Sequence[int]],
        residuals: Mapping[str, Tensor | None] | None = None,
        relus: Sequence[str] = (),
        overwrite: Sequence[str] = (),
        pool: Sequence[str] = (),
    ) -> dict[str, Tensor]:
        reads, epilogues = [], []
        for out in self.plan.channels:
            reads.append([maps.read(t.into, t.before, t.after) for t in self.plan.terms if t.out == out])
            residual = None if residuals is None else residuals.get(out)
            epilogues.append(Epilogue(residual, None, out in relus, out in overwrite, out in pool))
        found = self.run(reads, epilogues, [sizes.get(out) or () for out in self.plan.channels])
        outputs = {out: y for out, (y, _) in zip(self.plan.channels, found, strict=True)}
        for _, pooled in found:
            if pooled is not None:
                outputs["pooled"] = pooled
        return outputs
