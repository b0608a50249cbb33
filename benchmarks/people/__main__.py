"""Dense against octave on footage of people. `python -m benchmarks.people`

DeepMind's Inception-I3D with its Kinetics-400 weights, dense and octave, on two people in six interactions
(UT-Interaction) and on tennis strokes: what its frozen features know, with a linear classifier; what of that one frame
knows, and what the frames' order adds; what fine-tuning makes of it.

What is computed is kept in runs/people, so the command can be stopped and typed again. What is known so far is written
after every step: benchmarks/results/people.json and docs/people.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.people.footage import Footage
from benchmarks.people.networks import MODEL
from benchmarks.people.plan import FULL, Plan
from benchmarks.people.report import write_report

CHECKOUT = Path(__file__).resolve().parents[2]
SHARED = CHECKOUT.parent / "shared"
RUNS = Path("runs/people")
SETS = ("ut_interaction", "tennis_strokes")


def main(argv: Sequence[str] | None = None) -> int:
    """Computes what has not been computed; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.people",
        description="Dense against octave on footage of people: frozen features, fine-tuning, one frame, order.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--weights", default=MODEL, help="of Kinetics-400: a name of octvideo weights, or a file"
    )
    parser.add_argument("--datasets", type=Path, default=SHARED / "datasets", help="folder of the footage")
    parser.add_argument(
        "--examples", type=Path, default=SHARED / "clips", help="folder of two videos of Kinetics' classes"
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="which footage")
    parser.add_argument(
        "--full", action="store_true", help=f"clips of {FULL}, all layers fine-tuned: for a GPU"
    )
    parser.add_argument("--report-only", action="store_true", help="compute nothing; write what is known")
    arguments = parser.parse_args(argv)
    weights = arguments.weights
    if Path(weights).is_file():
        weights = str(Path(weights).absolute())
    sets = [Footage((arguments.datasets / name).absolute()) for name in arguments.sets]
    examples = arguments.examples.absolute()
    os.chdir(CHECKOUT)
    plan = Plan(weights, sets, examples, RUNS, arguments.full)
    while not arguments.report_only and (step := plan.next()):
        print(f"{time.strftime('%H:%M:%S')} {step.title}", flush=True)
        step.compute()
        write_report(CHECKOUT, plan)
    write_report(CHECKOUT, plan)
    return 0


if __name__ == "__main__":
    sys.exit(main())
