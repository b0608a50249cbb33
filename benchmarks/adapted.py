"""Dense weights adapted to octave networks without labels, by `octvideo adapt`. `python -m benchmarks.adapted`

The demo's I3D, trained dense, on demo videos; and with `--weights` DeepMind's Inception-I3D with its Kinetics-400
weights on UT-Interaction: how often its top class is the dense network's on videos that were held out, and what its
features know of the six interactions, by a linear classifier over ten folds.

Finished runs are kept in runs/adapted and skipped. The numbers are in benchmarks/results/adapted.json; the tables of
docs/adapt.md are what is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import evidence
from benchmarks.people.__main__ import RUNS as PEOPLE
from benchmarks.people.features import Frozen
from benchmarks.people.footage import Clip, Footage, View
from benchmarks.people.linear import accuracies
from benchmarks.people.networks import MODEL, Network
from data_prep.motions.__main__ import main as render_motions

CHECKOUT = Path(__file__).resolve().parents[1]
RUNS, RESULTS = Path("runs/adapted"), Path("benchmarks/results/adapted.json")
CLIP = Clip(24, 15.0, 160)
DEMO_EPOCHS, DEMO_ALPHA = 8, 0.25
DEMO_VIDEOS = 85  # of which adapt holds out one in four: 64 are learnt from


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what has not been run; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adapted",
        description="Octave networks adapted from dense weights: agreement, accuracy, features.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, help="of i3d_inception, Kinetics-400; none: the demo alone")
    parser.add_argument("--footage", type=Path, default=CHECKOUT.parent / "shared/datasets/ut_interaction")
    parser.add_argument(
        "--alphas", type=float, nargs="+", default=[0.125, 0.25, 0.5], help="of i3d_inception"
    )
    parser.add_argument("--seeds", type=int, default=1, help="of i3d_inception")
    parser.add_argument(
        "--minutes", type=float, default=11.0, help="of bringing features together, of i3d_inception"
    )
    parser.add_argument("--steps", type=int, help="instead, where the machine is shared")
    parser.add_argument("--demo-steps", type=int, default=600)
    parser.add_argument("--demo-seeds", type=int, default=3)
    arguments = parser.parse_args(argv)
    weights = arguments.weights and arguments.weights.absolute()
    os.chdir(CHECKOUT)  # the demo's paths start there
    rows = [demo(seed, arguments.demo_steps) for seed in range(arguments.demo_seeds)]
    if weights:
        footage = Footage(arguments.footage)
        until = ["--minutes", str(arguments.minutes)]
        if arguments.steps is not None:
            until = ["--minutes", "10000", "--steps", str(arguments.steps)]
        for alpha in arguments.alphas:
            rows += [people(weights, footage, alpha, seed, until) for seed in range(arguments.seeds)]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print("\n".join(table(rows)))
    return 0


def demo(seed: int, steps: int) -> dict[str, Any]:
    """The demo's dense network of a seed, tested before and after."""
    render_motions([evidence.DATA])
    dense = evidence.Run("scratch", 0.0, seed, DEMO_EPOCHS)
    at_once = evidence.Run("twin", DEMO_ALPHA, seed, 0, of=DEMO_EPOCHS)
    results = [evidence.execute(run, evidence.Way())["top1"] for run in (dense, at_once)]
    folder = RUNS / f"demo_s{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = Path(evidence.DATA, "train.csv").read_text().splitlines(keepends=True)[:DEMO_VIDEOS]
    some = Path(evidence.DATA, f"first_{DEMO_VIDEOS}.csv")  # beside the videos: paths start there
    some.write_text("".join(rows))
    adapted = adapt(
        folder, dense.checkpoint, DEMO_ALPHA, seed, [some], ["--minutes", "100", "--steps", str(steps)]
    )  # fmt: skip
    if not (folder / "metrics.json").is_file():
        test = ["test", "--config", evidence.CONFIG, "--ckpt_path", str(folder / "oct.ckpt")]
        _octvideo([*test, "--model.alpha", str(DEMO_ALPHA), "--trainer.default_root_dir", str(folder)])
    top1 = json.loads((folder / "metrics.json").read_text())["top1"]
    return {"of": "demo", **adapted, "dense": results[0], "at_once": results[1], "top1": top1}


def people(weights: Path, footage: Footage, alpha: float, seed: int, until: list[str]) -> dict[str, Any]:
    """Inception-I3D, and its features over ten folds before and after."""
    folder = RUNS / f"people_a{alpha:g}_s{seed}"
    clip = [f"--num_frames={CLIP.num_frames}", "--frame_stride=1", f"--fps={CLIP.fps}", f"--crop={CLIP.side}"]
    adapted = adapt(
        folder, weights, alpha, seed, [footage.root / "videos"], ["--model.name", MODEL, *clip, *until]
    )

    def folds(network: Network, kept: Path) -> float:
        frozen = Frozen(network, footage, CLIP, kept)
        if not frozen.is_known(View()):
            frozen.compute(View())
        features = frozen.features(View())
        return accuracies(features, features, footage.labels, footage.splits["ten folds"])[0]

    return {
        "of": MODEL,
        **adapted,
        "dense": folds(Network(0.0, str(weights)), PEOPLE),
        "at_once": folds(Network(alpha, str(weights)), PEOPLE),
        "top1": folds(Network(alpha, str(folder / "oct.ckpt")), folder),
    }


def adapt(
    folder: Path, weights: Path, alpha: float, seed: int, videos: Iterable[Path], options: Iterable[str]
) -> dict[str, Any]:
    """What `octvideo adapt` measured, by step, and the minutes of processor that all of it took."""
    record, out = folder / "adapted.json", folder / "oct.ckpt"
    if not record.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for file in (out, out.with_suffix(".json"), out.with_suffix(".html")):
            file.unlink(missing_ok=True)
        before = _cpu_seconds()
        command = ["adapt", str(weights), "--alpha", str(alpha), "--seed", str(seed), "--out", str(out)]
        _octvideo([*command, "--videos", *map(str, videos), *options])
        found = json.loads(out.with_suffix(".json").read_text())
        by_step = {one["after"]: one["agreement"] for one in found["measured"] if one["share"] == 1}
        for one in by_step.values():
            del one["layers"]
        row = {
            "alpha": alpha,
            "seed": seed,
            "agreement": by_step,
            "steps": found["settings"]["steps"],
            "cpu_minutes": round((_cpu_seconds() - before) / 60, 1),
        }
        record.write_text(json.dumps(row) + "\n")
    return json.loads(record.read_text())


def _octvideo(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "octvideo", *arguments], check=True)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """In Markdown."""
    steps = ("nothing", "channels", "layers", "features", "last_stage")
    lines = [
        f"| network | alpha | seed | same top class after {', '.join(steps)}, % | feature cosine | CPU min "
        "| top-1 dense | at once | adapted |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        same, cosine = (
            " / ".join(f"{scale * row['agreement'][step][key]:{form}}" for step in steps)
            for key, scale, form in (("top1", 100, ".0f"), ("cosine", 1, ".2f"))
        )
        results = " | ".join(f"{100 * row[key]:.1f}" for key in ("dense", "at_once", "top1"))
        cells = f"{row['of']} | {row['alpha']:g} | {row['seed']} | {same} | {cosine} | {row['cpu_minutes']:g}"
        lines.append(f"| {cells} | {results} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
