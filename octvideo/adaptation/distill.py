"""The octave network's features and logits brought to the dense ones, by gradient descent and without labels.

What is compared are the features that the classifying layer reads, the logits, and the outputs of the convolutions on
the way: squared errors, as shares of the dense network's own squares. The convolutions say in thousands of places of
each clip what is wrong, where features are one place: a few clips are enough. The divergence of the probabilities is
no part of it: networks that are sure of themselves made it outweigh all else, and features went apart.

Norms keep their statistics: a batch of four clips has none to give. Learning rates fall to nothing over the budget, so
that whatever time there is, it ends well.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from octvideo.adaptation.agreement import LayerErrors
from octvideo.adaptation.outputs import batch_of, head_of, listening, relative_error, run

WARMUP = 0.03  # of the budget


@dataclass(frozen=True)
class Budget:
    """When it ends: after so many minutes or so many steps, whichever comes first.

    Args:
        minutes: of the whole distillation, all its parts together.
        steps: of `batch_size` clips; None: as many as there is time for.
    """

    minutes: float
    steps: int | None = None

    def share(self, seconds: float, step: int) -> float:
        """How much of it is used, 1 at its end."""
        of_time = seconds / (60 * self.minutes) if self.minutes else 1.0
        return min(max(of_time, step / self.steps if self.steps is not None else 0.0), 1.0)


class Distillation:
    """A distillation that can be stopped between two steps and gone on with.

    Args:
        octave: is changed, in place.
        dense: the network to come near to; both in evaluation.
        clips: `(3, T, H, W)` each, all of a size.
        batch_size: clips a step.
        lr: Adam's learning rate at its peak.
        seed: of the clips' order.
    """

    def __init__(
        self,
        octave: fx.GraphModule,
        dense: nn.Module,
        clips: Sequence[Tensor],
        *,
        batch_size: int = 4,
        lr: float = 1e-4,
        seed: int = 0,
    ) -> None:
        self.octave, self.dense, self.clips = octave, dense, clips
        self.batch_size, self.lr, self.seed = min(batch_size, len(clips)), lr, seed
        self.step, self.seconds, self.loss = 0, 0.0, math.nan
        self._head = head_of(octave)
        self._errors = LayerErrors(octave, dense)
        for p in octave.parameters():
            p.requires_grad_(True)
        self._optimizer = torch.optim.Adam(octave.parameters(), lr=lr, betas=(0.9, 0.99))

    def run(self, budget: Budget, after_step: Callable[[float], None] | None = None) -> None:
        """Steps until the budget is used; `after_step` is called with the share that is."""
        while (share := budget.share(self.seconds, self.step)) < 1:
            began = time.monotonic()
            self._take_step(share)
            self.seconds += time.monotonic() - began
            self.step += 1
            if after_step:
                after_step(budget.share(self.seconds, self.step))

    def _take_step(self, share: float) -> None:
        rate = self.lr * min(1.0, (share + 1e-3) / WARMUP) * (1 + math.cos(math.pi * share)) / 2
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self._loss(batch_of(self.clips, self._batch()))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.octave.parameters(), 1.0)
        self._optimizer.step()
        self.loss = float(loss.detach())

    def _batch(self) -> list[int]:
        """A function of seed and step alone."""
        per_epoch = len(self.clips) // self.batch_size
        epoch, place = divmod(self.step, per_epoch)
        order = torch.randperm(
            len(self.clips), generator=torch.Generator().manual_seed(self.seed + 1000 * epoch)
        )
        return order[place * self.batch_size :][: self.batch_size].tolist()

    def _loss(self, clips: Tensor) -> Tensor:
        errors, paths = self._errors, self._errors.paths
        with torch.no_grad(), listening(self.dense, paths, errors.hear_dense):
            wanted = run(self.dense, clips, self._head)
        with listening(self.octave, paths, errors.hear_octave):
            found = run(self.octave, clips, self._head)
        return (
            relative_error(found.features, wanted.features)
            + relative_error(_centred(found.logits), _centred(wanted.logits))
            + torch.stack([errors.found[path] for path in paths]).mean()
        )

    def state_dict(self) -> dict[str, Any]:
        """What it goes on from, beside the octave network's own state."""
        return {"step": self.step, "seconds": self.seconds, "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self._optimizer.load_state_dict(state["optimizer"])


def _centred(logits: Tensor) -> Tensor:
    """What is added to all classes alike changes no probability."""
    return logits - logits.mean(1, keepdim=True)
