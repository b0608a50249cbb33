"""The page of what benchmarks.people found: docs/people.md."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import stdev
from textwrap import wrap
from typing import Any

from benchmarks.people.footage import VIEWS
from benchmarks.people.known import SHOWN
from benchmarks.people.plan import Plan
from benchmarks.people.results import merged, results

RESULTS, PAGE = "benchmarks/results/people.json", "docs/people.md"


def write_report(checkout: Path, plan: Plan) -> None:
    """Writes both files, of what is known."""
    file = checkout / RESULTS
    before = json.loads(file.read_text()) if file.is_file() else {}
    found = merged(before, results(plan))
    file.write_text(json.dumps(found, indent=1) + "\n")
    (checkout / PAGE).write_text(page(found, plan.full))


def page(found: dict[str, Any], full: bool = False) -> str:
    """The page, in Markdown."""
    clips = len(VIEWS)
    lines = [
        "# Evidence on people: dense against octave on real footage",
        "",
        "```bash",
        f"python -m benchmarks.people{' --full' if full else ''}",
        "```",
        "",
        *_text(
            "Everything on this page is written by that command, after `octvideo weights i3d_inception`. The "
            f"network is DeepMind's Inception-I3D (`{found['network']}`) with its Kinetics-400 weights, dense, and "
            "octave on the same ones, as they are: nothing was adapted. The footage is UT-Interaction's 120 "
            "segments of two people in six interactions, by ten folds in which no sequence is in two parts, and by "
            "halves (a car park, sequences 1-10, and a lawn, 11-20), one learnt from and the other tested, and "
            "back; and 371 tennis strokes of seven kinds, by a split that keeps scenes apart. Chance is 16.7 % and "
            "14.3 %. The footage is not part of the repository: `--datasets` names the folder of `ut_interaction` and "
            "`tennis_strokes`, each with `videos`, `classes.txt` and the lists of `octvideo prep manifest`."
        ),
        *_known(found["known"]),
        "## Six interactions, seven strokes",
        "",
        *_text(
            f"A clip is {found['clip']}. *One clip* is from the middle of a video; {clips} *clips* are from its "
            "start, middle and end, their features side by side, so that the classifier knows which is which "
            "(rather than averaged: chosen knowing what both give on these videos). Both are classified by ridge "
            "regression on the frozen features, standardised by the training videos; its strength was fixed before "
            "anything was measured, a tenth and ten times as much give the range in brackets. *Fine-tuned*: the "
            f"same {clips} clips, after the last block was trained. ± is the standard deviation over the folds or "
            "halves."
        ),
        *_classified(found),
        "",
        *_missing(found),
        *_tuning(found),
        "## One frame, and the order of the frames",
        "",
        *_text(
            "*First frame*: trained and tested on each middle clip's first frame, repeated: what one frame knows. "
            "*Backward*: trained on the middle clips and tested on them backward: what is lost is what the "
            "classifier took from the order of the frames."
        ),
        *_order(found),
        "",
        *_timed(found),
        *_fitted(found),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _text(text: str) -> list[str]:
    return [*wrap(text, 118, break_on_hyphens=False), ""]


def _known(known: dict[str, Any]) -> list[str]:
    if not known:
        return []
    lines = [
        "## The weights are right",
        "",
        *_text(
            "One clip from the middle of a real video, 64 frames at 25 a second, 224 x 224 pixels, by the dense "
            "network; the 400 names are Kinetics', in the published order."
        ),
        "| video | of the class | five most probable |",
        "|---|---|---|",
    ]
    for file, name in SHOWN.items():
        five = ", ".join(f"{top} {100 * p:.1f} %" for top, p in known[file])
        lines.append(f"| `{file}` | {name} | {five} |")
    return [*lines, ""]


def _sorted(found: dict[str, Any]) -> list[dict[str, Any]]:
    order = {"ut_interaction": 0, "tennis_strokes": 1}
    return sorted(
        found["classified"], key=lambda row: (order[row["set"]], row["splits"] == "halves", row["alpha"])
    )


def _classified(found: dict[str, Any]) -> list[str]:
    lines = [
        f"| set | splits | network | GFLOPs a clip | one clip | {len(VIEWS)} clips | fine-tuned, {len(VIEWS)} clips "
        "| same Kinetics class |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in _sorted(found):
        cells = [row["set"], row["splits"], row["network"], f"{row['gflops']:.1f}"]
        cells += [_range(row.get(name)) for name in ("one_clip", "all_clips")] + [_spread(row.get("tuned"))]
        cells.append(f"{100 * row['same_class']:.1f}" if row["alpha"] and "same_class" in row else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _missing(found: dict[str, Any]) -> list[str]:
    """That something of the plan is not there, so that nobody takes it for all."""
    return [
        line
        for name in ("ut_interaction", "tennis_strokes")
        if name not in {row["set"] for row in found["classified"]}
        for line in _text(f"**Of {name} nothing has been computed yet.**")
    ]


def _order(found: dict[str, Any]) -> list[str]:
    lines = ["| set | splits | network | one clip | first frame | backward |", "|---|---|---|---|---|---|"]
    for row in _sorted(found):
        if "first_frame" in row or "backward" in row:
            cells = [row["set"], row["splits"], row["network"]]
            cells += [_spread(row.get(name)) for name in ("one_clip", "first_frame", "backward")]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _tuning(found: dict[str, Any]) -> list[str]:
    if not found["trials"]:
        return []
    lines = _text(
        "Fine-tuned are the last block (`mixed_5c`) and the classifier, which starts as the ridge classifier of the "
        "same features ([LP-FT](https://arxiv.org/abs/2202.10054)); all below is as it was, so that it is computed "
        "once a clip. The recipe is `benchmarks/people/tuning.py`; its learning rate is chosen by the dense "
        "network, for UT-Interaction on sequences 1-10 alone (five folds of two sequences), for tennis on its "
        "validation videos. There the recipes, and the frozen features, give:"
    )
    for name, trials in found["trials"].items():
        shares = "; ".join(f"{recipe}: {100 * share:.1f} %" for recipe, share in trials.items())
        lines.append(f"- {name}: {shares}.")
    if not any("tuned" in row for row in found["classified"]):
        lines += ["", *_text("**No fine-tuning of the splits above has been computed yet.**")[:-1]]
    return [*lines, ""]


def _timed(found: dict[str, Any]) -> list[str]:
    if not found["timed"]:
        return []
    threads = found["timed"]["threads"]
    lines = [
        "## Seconds a clip",
        "",
        *_text(
            "One clip through each network made ready for inference (`octvideo.models.optimize`), in turn, on "
            f"{threads} CPU core{'s' if threads > 1 else ''} of a machine that did other work, too: medians, and the "
            "median and quartiles of the ratios within a round."
        ),
        "| network | seconds | of the dense network's |",
        "|---|---|---|",
    ]
    for network, timed in found["timed"]["networks"].items():
        lines.append(f"| {network} | {timed['seconds']:.2f} | {timed['ratio']} |")
    return [*lines, ""]


def _fitted(found: dict[str, Any]) -> list[str]:
    if not found["fitted"]:
        return []
    lines = [
        "## All layers trained",
        "",
        *_text(
            "By `octvideo fit`, three clips a test video; from Kinetics' weights or from scratch, and without `--full` "
            "at a size, and for as many clips, that two CPU cores can pay for."
        ),
        "| set | split | start | alpha | clips | epochs | GFLOPs a view | top-1, % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["fitted"]:
        cells = [row["set"], row["split"], row["start"], f"{row['alpha']:g}", row["clip"], f"{row['epochs']}"]
        lines.append(f"| {' | '.join(cells)} | {row['gflops']:.1f} | {100 * row['top1']:.1f} |")
    return [*lines, ""]


def _spread(of: dict[str, Any] | None) -> str:
    if of is None:
        return "-"
    return f"{100 * of['top1']:.1f}" + (f" ± {100 * stdev(of['each']):.1f}" if len(of["each"]) > 1 else "")


def _range(of: dict[str, Any] | None) -> str:
    if of is None:
        return "-"
    low, high = (100 * pick([of["top1"], *of["other_strengths"]]) for pick in (min, max))
    return f"{_spread(of)} ({low:.1f}-{high:.1f})"
