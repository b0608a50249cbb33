"""Whether a step has helped, on clips that none learns from; one that has not is undone.

Layers that are fitted to few clips can make a network worse, and so can gradient descent that has time for few steps.
"""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn

from octvideo.adaptation.outputs import DenseOutputs, Part

SHARE, MOST = 8, 12  # one clip in so many judges, and at most so many


def set_apart(clips: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Those that are learnt from, and those that judge: evenly over all, none where there are few."""
    count = min(len(clips) // SHARE, MOST)
    judging = [(2 * i + 1) * len(clips) // (2 * count) for i in range(count)]
    learnt = [i for i in range(len(clips)) if i not in judging]
    return Part(clips, learnt), Part(clips, judging)


class Judge:
    """Compares an octave network with the dense one, before and after each step.

    Args:
        dense: as `DenseOutputs` has it.
        judging: clips that none learns from; where there are none, no step is undone.
        head: the path of the classifying layer.
    """

    def __init__(self, dense: nn.Module, judging: Sequence[Tensor], head: str) -> None:
        self._wanted = DenseOutputs(dense, judging, head) if judging else None
        self._last: float | None = None  # how far the step before left it

    def remember(self, octave: fx.GraphModule) -> dict[str, Any]:
        """What `undo_if_worse` compares with: weights, and how far they are from the dense network."""
        if self._last is None:
            self._last = self._distance(octave)
        return {"octave": copy.deepcopy(octave.state_dict()), "distance": self._last}

    def undo_if_worse(self, octave: fx.GraphModule, before: dict[str, Any]) -> bool:
        """Gives the octave network the weights that it had before, where it is further away now, and says so."""
        after = self._distance(octave)
        self._last = min(after, before["distance"])
        if is_worse := after > before["distance"]:
            octave.load_state_dict(before["octave"])
        return is_worse

    def _distance(self, octave: fx.GraphModule) -> float:
        return self._wanted.distance(octave) if self._wanted else 0.0
