"""Learning rates by optimiser step: a cosine or steps, with a linear warm-up onto them.

The curve runs over the whole training, warm-up included, and the warm-up ends on it: the schedule of SlowFast
(arXiv 1812.03982, section 4.1) as its authors' code has it.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from octvideo.errors import InputError

SCHEDULES = ("cosine", "step")


@dataclass(frozen=True)
class Schedule:
    """Learning rates as multiples of the peak.

    Args:
        kind: "cosine", half a cosine from 1 to 0; or "step", 1 times `drop_factor` for each drop that is past.
        num_steps: optimiser steps of the whole training.
        warmup_steps: steps before the curve is reached.
        warmup_start: what the warm-up starts from.
        drop_steps: "step": when the learning rate drops, in optimiser steps.
        drop_factor: "step": what it is multiplied with then.
    """

    kind: str
    num_steps: int
    warmup_steps: int = 0
    warmup_start: float = 0.0
    drop_steps: tuple[int, ...] = ()
    drop_factor: float = 0.1

    def __call__(self, step: int) -> float:
        """The multiple at a step, from 0 to `num_steps - 1`."""
        if step < self.warmup_steps:
            end = self._curve(self.warmup_steps)
            return self.warmup_start + (end - self.warmup_start) * step / self.warmup_steps
        return self._curve(step)

    def _curve(self, step: int) -> float:
        if self.kind == "step":
            return self.drop_factor ** bisect_right(self.drop_steps, step)
        return 0.5 * (1.0 + math.cos(math.pi * min(step, self.num_steps) / self.num_steps))

    def in_words(self, peak: float) -> str:
        """One line, with learning rates for that peak."""
        warm = (
            f"warm-up of {self.warmup_steps} from {self.warmup_start * peak:g}, " if self.warmup_steps else ""
        )
        if self.kind == "cosine":
            return f"{self.num_steps} steps: {warm}cosine of {peak:g} to 0"
        drops = "".join(
            f", {peak * self.drop_factor**count:g} from step {step}"
            for count, step in enumerate(self.drop_steps, start=1)
        )
        return f"{self.num_steps} steps: {warm}{peak:g}{drops}"


def schedule_of(
    trainer: Any,
    kind: str,
    *,
    warmup_epochs: float,
    warmup_start: float,
    drop_epochs: Sequence[float],
    drop_factor: float,
) -> Schedule:
    """The schedule of a trainer's training, whose lengths are given in epochs.

    Raises:
        ValueError: the training has no end, or the warm-up or a drop comes after it.
    """
    num_steps = trainer.estimated_stepping_batches
    if math.isinf(num_steps):
        raise InputError("trainer.max_epochs and trainer.max_steps are both -1, one must end the training")
    num_steps = int(num_steps)
    trainer.fit_loop.setup_data()  # the length of an epoch; done already where the epochs are counted
    epoch_steps = max(1, math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches))
    length = f"the length of the training, {num_steps / epoch_steps:g} epochs ({num_steps} steps)"
    warmup_steps = round(warmup_epochs * epoch_steps)
    drop_steps = tuple(round(epoch * epoch_steps) for epoch in drop_epochs)
    if getattr(trainer, "fast_dev_run", False):  # a smoke test of a long recipe
        warmup_steps = min(warmup_steps, num_steps)
        drop_steps = ()
    if warmup_steps > num_steps:
        raise InputError(
            f"model.warmup_epochs is {warmup_epochs:g} ({warmup_steps} steps), allowed: at most {length}"
        )
    if drop_steps and drop_steps[-1] >= num_steps:
        raise InputError(f"model.drop_epochs is {list(drop_epochs)}, allowed: below {length}")
    return Schedule(kind, num_steps, warmup_steps, warmup_start, drop_steps, drop_factor)


def lr_scale(trainer: Any, lr_batch_size: int | None) -> float:
    """What learning rates given for `lr_batch_size` clips are multiplied with for the global batch in use.

    Source: the linear rule, arXiv 1706.02677.

    Raises:
        ValueError: the data does not say how many clips a process takes.
    """
    if lr_batch_size is None:
        return 1.0
    clips = getattr(getattr(trainer, "datamodule", None), "batch_size", None)
    if clips is None:
        raise InputError(f"lr_batch_size is {lr_batch_size}, allowed: none, where the data has no batch_size")
    return clips * trainer.world_size * trainer.accumulate_grad_batches / lr_batch_size
