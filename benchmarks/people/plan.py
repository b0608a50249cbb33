"""All that is computed, that first which the page needs first; each step is kept, and not done again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.people.features import Frozen
from benchmarks.people.fitting import Fitting
from benchmarks.people.footage import VIEWS, Clip, Footage, Split, View
from benchmarks.people.known import Known
from benchmarks.people.linear import share_right
from benchmarks.people.networks import ALPHAS, Network
from benchmarks.people.timed import Timed
from benchmarks.people.tuning import RECIPES, Recipe, Tuning

FROZEN = Clip(24, 15.0, 160)
FITTED = Clip(16, 10.0, 112)  # all layers, on two cores
FULL = Clip(64, 25.0, 224)
EPOCHS = 10  # of a training of all layers
FEW_CLIPS = 600  # that one on two cores sees at least: ten epochs of half of UT-Interaction
# What a classifier of the middle clips is asked about besides: one frame, and the frames in another order.
OTHER_VIEWS = (View(change="first"), View(change="backward"))


@dataclass(frozen=True)
class Step:
    title: str
    is_known: Callable[[], bool]
    compute: Callable[[], None]


class Plan:
    """What a run of the command computes.

    Args:
        weights: file, or name of `octvideo weights`.
        sets: the footage.
        examples: folder of the videos of `known.SHOWN`.
        runs: where all that is computed is kept.
        full: clips as Kinetics' weights were trained on, and all layers fine-tuned.
    """

    def __init__(
        self, weights: str, sets: Sequence[Footage], examples: Path, runs: Path, full: bool = False
    ) -> None:
        self.sets, self.full, self.runs = sets, full, runs
        self.clip = FULL if full else FROZEN
        self.networks = [Network(alpha, weights) for alpha in ALPHAS]
        self.known = Known(self.networks[0], examples, FULL, runs)
        self.timed = Timed(self.networks, self.clip, runs)
        self.frozen = {
            footage.name: [Frozen(network, footage, self.clip, runs) for network in self.networks]
            for footage in sets
        }
        self.fitted = [fitting for footage in sets for fitting in self._fitted(footage)]

    def _fitted(self, footage: Footage) -> list[Fitting]:
        """From scratch and from Kinetics' weights on one split; with `full` from these on all."""
        clip, kinds = FULL if self.full else FITTED, list(footage.splits.values())
        one = kinds[-1][:1]
        runs = [("scratch", one)] + [("kinetics", splits) for splits in (kinds if self.full else [one])]
        return [
            Fitting(start, network, footage, split, clip, self._epochs(split), self.runs)
            for start, splits in runs
            for split in splits
            for network in self.networks
        ]

    def _epochs(self, split: Split) -> int:
        return EPOCHS if self.full else math.ceil(FEW_CLIPS / len(split.train))

    def tunings(self, frozen: Frozen, recipe: Recipe, splits: Sequence[Split]) -> list[Tuning]:
        return [Tuning(frozen, split, recipe) for split in splits]

    def trials(self, footage: Footage) -> dict[Recipe, float | None]:
        """What the dense network comes to in the footage's trials, by recipe; None where it is not known."""
        found: dict[Recipe, float | None] = {}
        for recipe in RECIPES:
            tunings = self.tunings(self.frozen[footage.name][0], recipe, footage.trials)
            known = all(tuning.is_known() for tuning in tunings)
            scores = [tuning.scores() for tuning in tunings] if known else []
            found[recipe] = share_right(scores, footage.labels, footage.trials)[0] if known else None
        return found

    def recipe(self, footage: Footage) -> Recipe | None:
        """The best of the trials, the first of equals; None where one is not known."""
        trials = self.trials(footage)
        if any(share is None for share in trials.values()):
            return None
        return max(trials, key=lambda recipe: trials[recipe] or 0.0)

    def next(self) -> Step | None:
        """What is to be computed next: what that is can hang on what was found before."""
        return next((step for step in self._steps() if not step.is_known()), None)

    def _steps(self) -> Iterator[Step]:
        yield Step("known", self.known.is_known, self.known.compute)
        for footage in self.sets:
            for frozen in self.frozen[footage.name]:
                yield from self._views(frozen, VIEWS)
                if not self.full:
                    yield from self._tunings(frozen)
        yield Step("seconds a clip", self.timed.is_known, self.timed.compute)
        for footage in self.sets:
            for frozen in self.frozen[footage.name]:
                yield from self._views(frozen, OTHER_VIEWS)
        for of in self.fitted:
            title = f"{of.footage.name}: {of.network}, {of.split.name}, from {of.start}"
            yield Step(title, of.is_known, of.compute)

    def _views(self, frozen: Frozen, views: Sequence[View]) -> Iterator[Step]:
        for view in views:
            title = f"{frozen.footage.name}: {frozen.network}, {view.place}, {view.change}"
            yield Step(title, partial(frozen.is_known, view), partial(frozen.compute, view))

    def _tunings(self, frozen: Frozen) -> Iterator[Step]:
        footage, tunings = frozen.footage, []
        if not frozen.network.alpha:
            tunings += [of for recipe in RECIPES for of in self.tunings(frozen, recipe, footage.trials)]
        if (chosen := self.recipe(footage)) is not None:
            for splits in footage.splits.values():
                tunings += self.tunings(frozen, chosen, splits)
        for of in tunings:
            title = f"{footage.name}: {frozen.network}, {of.split.name}, {of.recipe}"
            yield Step(title, of.is_known, of.compute)
