"""From a dense network to its octave twin at an alpha, by unlabelled clips, in one call."""

import copy
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from octvideo.adaptation.distill import Budget
from octvideo.adaptation.outputs import OnDevice
from octvideo.adaptation.progress import Progress
from octvideo.adaptation.settings import BATCH_SIZE, LR, check_settings
from octvideo.adaptation.stages import choose_alphas
from octvideo.adaptation.state import State
from octvideo.adaptation.steps import Adaptation, check_dense
from octvideo.errors import InputError


def adapt(
    dense: nn.Module,
    clips: Sequence[Tensor] | Tensor,
    *,
    alpha: float | None = None,
    budget: float | None = None,
    minutes: float = 10.0,
    steps: int | None = None,
    without: Collection[str] = (),
    channel_multiple: int = 1,
    batch_size: int = BATCH_SIZE,
    lr: float = LR,
    seed: int = 0,
    state: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> nn.Module:
    """The octave twin of a trained dense network, adapted to give what that gives: no labels are needed.

    Args:
        dense: a dense network, of `create_model` or one's own, with trained weights; it is left as it is.
        clips: `float (N, 3, T, H, W)`, or N times `(3, T, H, W)`, normalised as the network wants them; two or more.
        alpha: share of low-frequency channels, above 0 and below 1.
        budget: instead of alpha, the share of the dense network's time that the octave one may take on this machine:
            every stage gets the alpha that loses least.
        minutes: that features are brought together for; the other steps come on top.
        steps: and at most so many steps of `batch_size` clips; None: as many as there is time for.
        without: steps to leave out: "channels", "layers", "features", "last_stage".
        channel_multiple: as for `octavize`.
        batch_size: clips of a step.
        lr: learning rate at its peak.
        seed: of the order of the clips.
        state: a file to go on from, if it is there; it is written twice a minute, and removed at the end.
        progress: called with a `Progress` after each part of a step.

    Returns:
        The octave network, in evaluation. Its state dict has the dense network's names and shapes; its low channels
        are others than the dense network's last ones, so that it is no longer that network at alpha 0.

    Raises:
        ValueError: an argument is out of its range, a network that cannot be split, clips of several sizes, a budget
            that no alphas meet, or `state` is of other settings.
    """
    check_settings(clips, without, minutes=minutes, steps=steps, batch_size=batch_size, lr=lr, budget=budget)
    if (alpha is None) == (budget is None):
        raise InputError(f"alpha is {alpha} and budget is {budget}, allowed is one of them")
    made_of = {
        "alpha": alpha,
        "budget": budget,
        "without": sorted(without),
        "channel_multiple": channel_multiple,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
        "clips": len(clips),
    }
    kept = State(state, made_of)
    adaptation = Adaptation(
        dense,
        alpha or 0.0,
        channel_multiple=channel_multiple,
        layer_alphas=alphas_for(kept, dense, cast(Sequence[Tensor], clips), budget, channel_multiple),
        without=without,
        state=kept,
    )
    adaptation.run(
        cast(Sequence[Tensor], clips),
        Budget(minutes, steps),
        progress=progress,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
    )
    kept.remove()
    return adaptation.octave


def alphas_for(
    state: State,
    dense: nn.Module,
    clips: Sequence[Tensor],
    budget: float | None,
    channel_multiple: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """`layer_alphas` that meet a budget: those that a stopped adaptation had, or new ones; none without a budget."""
    if budget is None:
        return {}
    if state.content:
        return cast(dict[str, float], state.content["layer_alphas"])
    check_dense(dense)
    network = copy.deepcopy(dense).eval()
    return choose_alphas(
        network, OnDevice(clips, dense), budget, channel_multiple=channel_multiple, progress=progress
    )
