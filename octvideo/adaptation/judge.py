"""Whether a step has helped, on clips that none learns from; one that has not is undone.

Layers that are fitted to few clips can make a network worse, and so can gradient descent that has time for few steps.
"""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn

from octvideo.adaptation.outputs import Part, batch_of, distance

SHARE, MOST = 8, 12  # one clip in so many judges, and at most so many


def set_apart(clips: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Those that are learnt from, and those that judge: evenly over all, none where there are few."""
    count = min(len(clips) // SHARE, MOST)
    judging = [(2 * i + 1) * len(clips) // (2 * count) for i in range(count)]
    learnt = [i for i in range(len(clips)) if i not in judging]
    return Part(clips, learnt), Part(clips, judging)


def remember(octave: fx.GraphModule, dense: nn.Module, judging: Sequence[Tensor]) -> dict[str, Any]:
    """What `undo_if_worse` compares with: weights, and how far they are from the dense network."""
    return {
        "octave": copy.deepcopy(octave.state_dict()),
        "distance": _distance(octave, dense, judging) if judging else None,
    }


def undo_if_worse(
    octave: fx.GraphModule, dense: nn.Module, judging: Sequence[Tensor], before: dict[str, Any]
) -> bool:
    """Gives the octave network the weights that it had before, where it is further away now, and says so."""
    if not judging or _distance(octave, dense, judging) <= before["distance"]:
        return False
    octave.load_state_dict(before["octave"])
    return True


def _distance(octave: fx.GraphModule, dense: nn.Module, judging: Sequence[Tensor]) -> float:
    return distance(octave, dense, (batch_of(judging, [i]) for i in range(len(judging))))
