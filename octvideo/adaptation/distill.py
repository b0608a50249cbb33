"""Features and logits brought to the dense network's, by gradient descent and without labels.

Of a whole octave network, or of its last stage alone (`last_stage.py`). What is compared are the features that the
classifying layer reads, and the logits: squared errors, as shares of the dense network's own squares. What the
convolutions on the way give is no part of it: an octave network has other maps, and held to the dense ones it ends
further from the dense features. Nor is the divergence of the probabilities: networks that are sure of themselves made
it outweigh all else, and features went apart.

Norms keep their statistics: a batch of four clips has none to give. Learning rates fall to nothing over the budget, so
that whatever time there is, it ends well.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from octvideo.adaptation.outputs import Outputs, head_of, relative_error, run

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
        learner: what is changed, in place; in evaluation.
        inputs: gives what it reads for some clips, by their numbers.
        wanted: gives what the dense network makes of them.
        num_clips: how many there are.
        batch_size: clips a step.
        lr: Adam's learning rate at its peak.
        seed: of the clips' order.
    """

    def __init__(
        self,
        learner: fx.GraphModule,
        inputs: Callable[[list[int]], tuple[Tensor, ...]],
        wanted: Callable[[list[int]], Outputs],
        num_clips: int,
        *,
        batch_size: int,
        lr: float,
        seed: int = 0,
    ) -> None:
        self.learner, self.inputs, self.wanted, self.num_clips = learner, inputs, wanted, num_clips
        self.batch_size, self.lr, self.seed = min(batch_size, num_clips), lr, seed
        self.step, self.seconds, self.loss = 0, 0.0, math.nan
        self._head = head_of(learner)
        self._parameters = list(learner.parameters())
        for p in self._parameters:
            p.requires_grad_(True)
        self._optimizer = torch.optim.Adam(self._parameters, lr=lr, betas=(0.9, 0.99))

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
        numbers = self._batch()
        found, wanted = run(self.learner, self._head, *self.inputs(numbers)), self.wanted(numbers)
        loss = relative_error(found.features, wanted.features) + relative_error(
            _centred(found.logits), _centred(wanted.logits)
        )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self.loss = float(loss.detach())

    def _batch(self) -> list[int]:
        """A function of seed and step alone."""
        per_epoch = self.num_clips // self.batch_size
        epoch, place = divmod(self.step, per_epoch)
        order = torch.randperm(
            self.num_clips, generator=torch.Generator().manual_seed(self.seed + 1000 * epoch)
        )
        return order[place * self.batch_size :][: self.batch_size].tolist()

    def state_dict(self) -> dict[str, Any]:
        """What it goes on from, beside the learner's own state."""
        return {"step": self.step, "seconds": self.seconds, "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self._optimizer.load_state_dict(state["optimizer"])


def _centred(logits: Tensor) -> Tensor:
    """What is added to all classes alike changes no probability."""
    return logits - logits.mean(1, keepdim=True)
