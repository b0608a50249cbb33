"""What has been computed, as plain numbers: benchmarks/results/people.json."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.people.features import Frozen
from benchmarks.people.footage import VIEWS, Footage, Split, View
from benchmarks.people.linear import OTHERS, STRENGTH, accuracies, share_right
from benchmarks.people.networks import MODEL, gflops
from benchmarks.people.plan import Plan
from benchmarks.people.tuning import Recipe


def results(plan: Plan) -> dict[str, Any]:
    """All that is known."""
    return {
        "network": MODEL,
        "clip": str(plan.clip),
        "known": plan.known.found() if plan.known.is_known() else {},
        "timed": plan.timed.found() if plan.timed.is_known() else {},
        "classified": [row for footage in plan.sets for row in _classified(plan, footage)],
        "trials": {footage.name: trials for footage in plan.sets if (trials := _trials(plan, footage))},
        "fitted": [
            {
                "set": of.footage.name,
                "split": of.split.name,
                "start": of.start,
                "clip": str(of.clip),
                "epochs": of.epochs,
                "alpha": of.network.alpha,
                **of.found(),
            }
            for of in plan.fitted
            if of.is_known()
        ],
    }


def merged(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What is known now, and what was before and is not computed again: on another machine, of other footage.

    Args:
        before: of `results`, too; of clips of another size nothing is kept.
        now: goes before it.
    """
    if before.get("clip") != now["clip"]:
        return now
    found = {**now}
    for name in ("known", "timed"):
        found[name] = now[name] or before[name]
    for name, keys in (
        ("classified", ("set", "alpha", "splits")),
        ("fitted", ("set", "split", "start", "clip", "alpha")),
    ):
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in (*before[name], *now[name]):
            key = tuple(row[each] for each in keys)
            rows[key] = {**rows.get(key, {}), **row}
        found[name] = [rows[key] for key in sorted(rows)]
    found["trials"] = {**before["trials"], **now["trials"]}
    return found


def _classified(plan: Plan, footage: Footage) -> list[dict[str, Any]]:
    """A row a network and a kind of split."""
    rows, recipe = [], None if plan.full else plan.recipe(footage)
    dense = plan.frozen[footage.name][0]
    kinetics = dense.logits(View()).argmax(1) if dense.is_known(View()) else None
    for frozen in plan.frozen[footage.name]:
        if not frozen.is_known(View()):
            continue
        for kind, splits in footage.splits.items():
            rows.append(
                {
                    "set": footage.name,
                    "network": str(frozen.network),
                    "alpha": frozen.network.alpha,
                    "splits": kind,
                    "gflops": round(gflops(frozen.network.alpha, plan.clip.num_frames, plan.clip.side), 2),
                    **_frozen(frozen, splits),
                    **({} if kinetics is None else {"same_class": _same_class(frozen, kinetics)}),
                    **_tuned(plan, frozen, splits, recipe),
                }
            )
    return rows


def _same_class(frozen: Frozen, kinetics: np.ndarray) -> float:
    """Share of the middle clips whose most probable of Kinetics' classes is the dense network's."""
    return float((frozen.logits(View()).argmax(1) == kinetics).mean())


def _frozen(frozen: Frozen, splits: list[Split]) -> dict[str, Any]:
    labels = frozen.footage.labels

    def right(learnt: np.ndarray, shown: np.ndarray) -> dict[str, Any]:
        each = {
            strength: accuracies(learnt, shown, labels, splits, strength) for strength in (STRENGTH, *OTHERS)
        }
        top1, by_split = each[STRENGTH]
        return {"top1": top1, "each": by_split, "other_strengths": [each[other][0] for other in OTHERS]}

    middle = frozen.features(View())
    found = {"one_clip": right(middle, middle)}
    if all(frozen.is_known(view) for view in VIEWS):
        found["all_clips"] = right(frozen.side_by_side(), frozen.side_by_side())
    if frozen.is_known(first := View(change="first")):
        found["first_frame"] = right(frozen.features(first), frozen.features(first))
    if frozen.is_known(backward := View(change="backward")):
        found["backward"] = right(middle, frozen.features(backward))
    return found


def _tuned(plan: Plan, frozen: Frozen, splits: list[Split], recipe: Recipe | None) -> dict[str, Any]:
    tunings = plan.tunings(frozen, recipe, splits) if recipe else []
    if not tunings or not all(of.is_known() for of in tunings):
        return {}
    scores, labels = [of.scores() for of in tunings], frozen.footage.labels
    top1, each = share_right(scores, labels, splits)
    found: dict[str, Any] = {"top1": top1, "each": each}
    return {"tuned": found}


def _trials(plan: Plan, footage: Footage) -> dict[str, float]:
    """What recipes come to in the trials, and the frozen features there."""
    dense, known = plan.frozen[footage.name][0], plan.trials(footage)
    found = {str(recipe): share for recipe, share in known.items() if share is not None}
    if found:
        features = dense.side_by_side()
        found["frozen"] = accuracies(features, features, footage.labels, footage.trials)[0]
    return found
