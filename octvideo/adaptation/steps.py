"""The steps of an adaptation: one after another, measured in between, gone on with after a stop.

As post-training quantisation does for int8: four steps, each of which can be left out. `order_channels` chooses which
channels become low ones, `fit_layers` fits each layer to what the dense one gives, a `Distillation` brings features and
logits together for as long as there is time, and `train_last_stage` does so for the last layers alone, which costs
little. A step that does not help is undone (`judge.py`).
"""

import copy
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from octvideo.adaptation.agreement import Agreement
from octvideo.adaptation.channels import order_channels
from octvideo.adaptation.distill import Budget, Distillation
from octvideo.adaptation.instep import bytes_of_maps
from octvideo.adaptation.judge import Judge, set_apart
from octvideo.adaptation.last_stage import train_last_stage
from octvideo.adaptation.layers import FittedLayer, fit_layers
from octvideo.adaptation.outputs import DenseOutputs, OnDevice, Part, batch_of, head_of
from octvideo.adaptation.progress import Measured, Progress
from octvideo.adaptation.settings import BATCH_SIZE, LR, STEPS
from octvideo.adaptation.state import State
from octvideo.errors import InputError
from octvideo.layers import OctaveConv2d, OctaveConv3d
from octvideo.limits import check_numbers
from octvideo.models import octavize

ORDER_CLIPS = 16  # that order the channels
FIT_CLIPS = 96  # that fit the layers: many, since the last layers have few pixels of each
MOST_BYTES = 2**31  # of the maps of all clips that are in memory at once
MARKS = (0.5,)  # of the distillation, where it is measured on the way


class Adaptation:
    """The two networks, what was done and what it brought.

    Args:
        dense: a dense network; it is left as it is.
        alpha: share of low-frequency channels, below 1.
        channel_multiple, layer_alphas: as for `octavize`.
        without: steps to leave out.
        state: what an adaptation that was stopped has kept; it is kept up to date.

    Attributes:
        dense: a copy, whose channels may have been put in another order.
        octave: its twin, which is changed.
        fitted: the layers' fits.
        measured: from the start on, in order.

    Raises:
        ValueError: alpha is out of its range, or the network cannot be split.
    """

    def __init__(
        self,
        dense: nn.Module,
        alpha: float,
        *,
        channel_multiple: int = 1,
        layer_alphas: Mapping[str, float] | None = None,
        without: Collection[str] = (),
        state: State | None = None,
    ) -> None:
        check_numbers({"alpha": alpha, "channel_multiple": channel_multiple})
        if not layer_alphas and not 0 < alpha < 1:
            raise InputError(
                f"alpha is {alpha:g}, allowed is a number above 0 and below 1: 0 is the dense network"
            )
        check_dense(dense)
        self.alpha, self.channel_multiple = alpha, channel_multiple
        self.layer_alphas = dict(layer_alphas or {})
        self.steps = [step for step in STEPS if step not in without]
        self.dense = copy.deepcopy(dense).eval().requires_grad_(False)
        self.dense.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.octave = self._octavized()
        self.fitted: list[FittedLayer] = []
        self.measured: list[Measured] = []
        self.seconds = 0.0  # of all steps
        self._done: list[str] = []
        self._state = state or State(None, {})
        self._distillation: dict[str, Any] | None = None
        self._before: dict[str, Any] | None = None  # of the step that is under way
        if self._state.content:
            self._go_on(self._state.content)

    def _octavized(self) -> fx.GraphModule:
        twin = octavize(
            self.dense, self.alpha, channel_multiple=self.channel_multiple, layer_alphas=self.layer_alphas
        )
        return cast(fx.GraphModule, twin)

    def run(
        self,
        clips: Sequence[Tensor],
        budget: Budget,
        *,
        measure: Callable[[fx.GraphModule, nn.Module], Agreement] | None = None,
        progress: Callable[[Progress], None] | None = None,
        batch_size: int = BATCH_SIZE,
        lr: float = LR,
        seed: int = 0,
    ) -> None:
        """All steps that are not done.

        Args:
            clips: `float (3, T, H, W)` each, normalised, of one size.
            budget: of the distillation.
            measure: compares the two networks; called at the start, after each step and in between.
            progress: is told after each part of a step.
            batch_size, lr: of the distillation.
            seed: of the clips' order.
        """

        def note(after: str, share: float = 1.0, is_undone: bool = False) -> None:
            if measure:
                found = measure(self.octave, self.dense)
                self.measured.append(Measured(after, share, self.seconds, found, is_undone))

        tell = progress or (lambda _: None)
        clips, judging = set_apart(OnDevice(clips, self.dense))
        head = head_of(self.octave)
        wanted, judge = DenseOutputs(self.dense, clips, head), Judge(self.dense, judging, head)
        if not self.measured:
            note("nothing")
        for step in [step for step in self.steps if step not in self._done]:
            is_undone = False
            if step == "channels":
                self._order(clips)
            else:
                if self._before is None:  # else it goes on with a step that was stopped
                    self._before = judge.remember(self.octave)
                if step == "layers":
                    self._fit(clips, tell)
                elif step == "features":
                    learning = Distillation(
                        self.octave, lambda numbers: (batch_of(clips, numbers),), wanted, len(clips),
                        batch_size=batch_size, lr=lr, seed=seed,
                    )  # fmt: skip
                    self._bring_together(learning, budget, note, tell)
                else:
                    self._train_last_stage(clips, wanted, tell, seed)
                self.octave.eval().requires_grad_(True)
                is_undone = judge.undo_if_worse(self.octave, self._before)
                self._before = None
            self._done.append(step)
            note(step, is_undone=is_undone)
            self._keep()

    def _order(self, clips: Sequence[Tensor]) -> None:
        began = time.monotonic()
        order_channels(self.dense, _some(clips, ORDER_CLIPS))
        self.octave = self._octavized()
        self.seconds += time.monotonic() - began

    def _fit(self, clips: Sequence[Tensor], tell: Callable[[Progress], None]) -> None:
        began = time.monotonic()
        of_each = bytes_of_maps(self.octave, batch_of(clips, [0]))
        some = _some(clips, min(FIT_CLIPS, max(MOST_BYTES // of_each, 4)))
        self.fitted = fit_layers(
            self.octave, self.dense, some, progress=lambda done, of: tell(Progress("layers", done / of))
        )
        self.seconds += time.monotonic() - began

    def _bring_together(
        self,
        learning: Distillation,
        budget: Budget,
        note: Callable[[str, float], None],
        tell: Callable[[Progress], None],
    ) -> None:
        if self._distillation:
            learning.load_state_dict(self._distillation)
        before = self.seconds - learning.seconds
        marks = [share for share in MARKS if share > budget.share(learning.seconds, learning.step)]

        def after(share: float) -> None:
            self.seconds = before + learning.seconds
            tell(Progress("features", share, learning.loss))
            if marks and share >= marks[0] and share < 1:
                note("features", marks.pop(0))
            if self._state.is_due:
                self._distillation = learning.state_dict()
                self._keep()

        learning.run(budget, after)

    def _train_last_stage(
        self,
        clips: Sequence[Tensor],
        wanted: DenseOutputs,
        tell: Callable[[Progress], None],
        seed: int,
    ) -> None:
        began = time.monotonic()
        train_last_stage(
            self.octave,
            clips,
            wanted,
            most_bytes=MOST_BYTES,
            seed=seed,
            progress=lambda share, loss: tell(Progress("last_stage", share, loss)),
        )
        self.seconds += time.monotonic() - began

    def _keep(self) -> None:
        self._state.write(
            {
                "dense": self.dense.state_dict(),
                "octave": self.octave.state_dict(),
                "distillation": self._distillation,
                "before": self._before,
                "done": self._done,
                "seconds": self.seconds,
                "fitted": [asdict(one) for one in self.fitted],
                "measured": [asdict(one) for one in self.measured],
                "layer_alphas": self.layer_alphas,
            }
        )

    def _go_on(self, kept: dict[str, Any]) -> None:
        self.dense.load_state_dict(kept["dense"])
        self.octave.load_state_dict(kept["octave"])
        self._distillation, self._done, self.seconds = kept["distillation"], kept["done"], kept["seconds"]
        self._before = kept["before"]
        self.fitted = [FittedLayer(**one) for one in kept["fitted"]]
        self.measured = [
            Measured(**{**one, "agreement": Agreement(**one["agreement"])}) for one in kept["measured"]
        ]


def _some(clips: Sequence[Tensor], count: int) -> Sequence[Tensor]:
    """So many of the clips, if there are as many, evenly over all."""
    count = min(count, len(clips))
    return Part(clips, [i * len(clips) // count for i in range(count)])


def check_dense(network: nn.Module) -> None:
    """Raises InputError for an octave network."""
    if any(isinstance(m, OctaveConv2d | OctaveConv3d) for m in network.modules()):
        raise InputError("the network is an octave one already, allowed is a dense one: alpha 0")
