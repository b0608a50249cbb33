"""Learning rates by optimiser step."""

import math
from typing import Any


def learning_rate_at(
    step: int, *, num_steps: int, warmup_steps: int, lr: float, warmup_start_lr: float
) -> float:
    """The learning rate of one optimiser step: half a cosine to 0, with a linear warm-up onto it.

    The cosine runs over the whole training, warm-up included, and the warm-up ends on it: the schedule of
    SlowFast (arXiv 1812.03982, section 4.1) as its authors' code has it.

    Args:
        step: from 0 to `num_steps - 1`.
        num_steps: optimiser steps of the whole training.
        warmup_steps: steps before the cosine is reached.
        lr: the cosine's value at step 0.
        warmup_start_lr: the warm-up's value at step 0.
    """

    def cosine(at: int) -> float:
        return 0.5 * lr * (1.0 + math.cos(math.pi * min(at, num_steps) / num_steps))

    if step < warmup_steps:
        return warmup_start_lr + (cosine(warmup_steps) - warmup_start_lr) * step / warmup_steps
    return cosine(step)


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
        raise ValueError(f"lr_batch_size is {lr_batch_size}, allowed: none, where the data has no batch_size")
    return clips * trainer.world_size * trainer.accumulate_grad_batches / lr_batch_size


def count_steps(trainer: Any, warmup_epochs: float) -> tuple[int, int, int]:
    """Optimiser steps of the training, of its warm-up and of an epoch.

    Raises:
        ValueError: the training has no end, or the warm-up is longer than it.
    """
    num_steps = trainer.estimated_stepping_batches
    if math.isinf(num_steps):
        raise ValueError("trainer.max_epochs and trainer.max_steps are both -1, one must end the training")
    epoch_steps = max(1, math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches))
    warmup_steps = round(warmup_epochs * epoch_steps)
    if getattr(trainer, "fast_dev_run", False):  # a smoke test of a long recipe
        warmup_steps = min(warmup_steps, int(num_steps))
    if warmup_steps > num_steps:
        raise ValueError(
            f"model.warmup_epochs is {warmup_epochs:g} ({warmup_steps} steps), allowed: at most the length "
            f"of the training, {num_steps / epoch_steps:g} epochs ({int(num_steps)} steps)"
        )
    return int(num_steps), warmup_steps, epoch_steps
