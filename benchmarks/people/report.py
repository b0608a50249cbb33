"""What benchmarks.people found: numbers in JSON and a page of the documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np

from benchmarks.people.features import SHOWN, Frozen
from benchmarks.people.footage import Clip, Footage, Split
from benchmarks.people.linear import OTHERS, accuracies
from benchmarks.people.networks import MODEL, NETWORKS
from benchmarks.people.tuning import CLIP, EPOCHS, plan

RESULTS, PAGE = "benchmarks/results/people.json", "docs/people.md"
COMMAND = "python -m benchmarks.people --weights WEIGHTS"


def frozen_results(footage: Footage, clip: Clip, weights: Path, runs: Path) -> list[dict[str, Any]]:
    """A row a network and a kind of split, of what has been computed."""
    rows = []
    kinetics: np.ndarray | None = None
    for network in NETWORKS:
        frozen = Frozen(network, weights, runs / footage.name / "features" / clip.name)
        known = {shown: found for shown in SHOWN if (found := frozen.known(shown)) is not None}
        if "forward" not in known:
            continue
        width = known["forward"].shape[1] - 400
        top = known["forward"][:, width:].argmax(1)
        kinetics = top if network.alpha == 0 else kinetics
        features = {shown: found[:, :width] for shown, found in known.items()}
        for kind, splits in footage.splits.items():
            rows.append(
                {
                    "set": footage.name,
                    "network": str(network),
                    "alpha": network.alpha,
                    "splits": kind,
                    "gflops": round(network.gflops(clip.num_frames, clip.side), 2),
                    "kinetics_agreement": None if kinetics is None else float((top == kinetics).mean()),
                    **_accuracies(features, footage.labels, splits),
                }
            )
    return rows


def _accuracies(
    features: dict[str, np.ndarray], labels: np.ndarray, splits: Sequence[Split]
) -> dict[str, Any]:
    forward = features["forward"]
    top1, each = accuracies(forward, forward, labels, splits)
    found: dict[str, Any] = {
        "top1": top1,
        "each": each,
        "other_strengths": [accuracies(forward, forward, labels, splits, other)[0] for other in OTHERS],
    }
    if "first" in features:
        found["first_frame"] = accuracies(features["first"], features["first"], labels, splits)[0]
    if "backward" in features:
        found["backward"] = accuracies(forward, features["backward"], labels, splits)[0]
    return found


def tuning_results(footage: Footage, clip: Clip, weights: Path, runs: Path) -> list[dict[str, Any]]:
    """A row a run that has finished, with what the frozen features give on the same split."""
    rows = []
    for run in plan(footage):
        found = run.found(runs / footage.name)
        if found is None:
            continue
        network = next(one for one in NETWORKS if one.alpha == run.alpha)
        known = Frozen(network, weights, runs / footage.name / "features" / clip.name).known("forward")
        frozen = None
        if known is not None:
            features = known[:, : known.shape[1] - 400]
            frozen = accuracies(features, features, footage.labels, [run.split])[0]
        rows.append(
            {
                "set": footage.name,
                "start": run.start,
                "alpha": run.alpha,
                "split": run.split.name,
                "frozen": frozen,
                **found,
            }
        )
    return rows


def write_report(
    checkout: Path, sets: Sequence[Footage], clip: Clip, weights: Path, runs: Path, command: str
) -> None:
    """Writes both files, of what is known."""
    frozen = [row for footage in sets for row in frozen_results(footage, clip, weights, runs)]
    tuned = [row for footage in sets for row in tuning_results(footage, clip, weights, runs)]
    planned = {footage.name: sum(1 for _ in plan(footage)) for footage in sets}
    report = {
        "clip": str(clip),
        "tuning_clip": str(CLIP),
        "planned": planned,
        "frozen": frozen,
        "tuned": tuned,
    }
    (checkout / RESULTS).write_text(json.dumps(report, indent=1) + "\n")
    (checkout / PAGE).write_text(page(report, command))


def page(report: dict[str, Any], command: str = COMMAND) -> str:
    """The page, in Markdown."""
    lines = [
        "# Evidence on people: dense against octave on real footage",
        "",
        "```bash",
        command,
        "```",
        "",
        "Everything on this page is written by that command. The network is DeepMind's Inception-I3D",
        f"(`{MODEL}`) with its Kinetics-400 weights, dense, and octave on the same weights, as they are: nothing",
        "was adapted. The footage is UT-Interaction's 120 segments of two people in six interactions, by ten folds in",
        "which no sequence is in two parts, and by halves (a car park, sequences 1-10, and a lawn, 11-20), one",
        "learnt from and the other tested, and back. Chance is 16.7 %.",
        "",
        "## Frozen features, a linear classifier",
        "",
        f"One clip a video: {report['clip']}, from the middle. Features are standardised by the training videos, the",
        "classifier is ridge regression; its strength was fixed before anything was measured, a tenth and ten times",
        "as much give the range in brackets. ± is the standard deviation over the folds or halves.",
        "",
        *frozen_table(report["frozen"]),
        "",
        "*First frame*: trained and tested on each clip's first frame, repeated: what one frame knows.",
        "*Backward*: trained on the clips and tested on them backward: what is lost is what the classifier took from",
        "the order of the frames. *Same Kinetics class*: of how many clips the octave network's most probable one of",
        "the 400 classes is the dense network's; an octave ratio changes what dense weights compute.",
        "",
        "## Fine-tuned",
        "",
        f"All layers, {EPOCHS} epochs, {report['tuning_clip']}, three clips a test video; the recipe is the same for",
        "all (`benchmarks/people/tuning.py`), and nothing was chosen by the tested videos.",
        "",
        *tuning_table(report),
        "",
    ]
    return "\n".join(lines)


def frozen_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| set | splits | network | GFLOPs a clip | top-1, % | first frame | backward | same Kinetics class |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["set"], row["splits"] != "ten folds", row["alpha"])):
        low, high = (100 * pick([row["top1"], *row["other_strengths"]]) for pick in (min, max))
        spread = f" ± {100 * stdev(row['each']):.1f}" if len(row["each"]) > 1 else ""
        cells = [
            row["set"],
            row["splits"],
            row["network"],
            f"{row['gflops']:.1f}",
            f"{100 * row['top1']:.1f}{spread} ({low:.1f}-{high:.1f})",
            _percent(row.get("first_frame")),
            _percent(row.get("backward")),
            _percent(row["kinetics_agreement"]) if row["alpha"] else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def tuning_table(report: dict[str, Any]) -> list[str]:
    lines = [
        "| set | split | start | alpha | GFLOPs a view | top-1, % | frozen features of the larger clip, same split |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["tuned"]:
        cells = [row["set"], row["split"], row["start"], f"{row['alpha']:g}", f"{row['gflops']:.1f}"]
        lines.append(f"| {' | '.join(cells)} | {_percent(row['top1'])} | {_percent(row['frozen'])} |")
    done = {name: sum(row["set"] == name for row in report["tuned"]) for name in report["planned"]}
    for name, planned in report["planned"].items():
        if done[name] < planned:
            lines += [
                "",
                f"**{done[name]} of {planned} fine-tunings of {name} are done**; `--tune` goes on with the rest.",
            ]
    return lines


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
