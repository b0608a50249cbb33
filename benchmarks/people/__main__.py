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

from benchmarks.people.features import SHOWN, Frozen
from benchmarks.people.footage import Clip, Footage
from benchmarks.people.networks import NETWORKS
from benchmarks.people.report import write_report
from benchmarks.people.tuning import execute, plan

CHECKOUT = Path(__file__).resolve().parents[2]
RUNS = Path("runs/people")
SETS = ("ut_interaction", "tennis_strokes")
FROZEN = Clip(24, 15.0, 160)
FULL = Clip(64, 25.0, 224)


def main(argv: Sequence[str] | None = None) -> int:
    """Computes what has not been computed; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.people",
        description="Dense against octave on footage of people: frozen features, fine-tuning, one frame, order.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, required=True, help="of i3d_inception, Kinetics-400")
    parser.add_argument(
        "--datasets", type=Path, default=CHECKOUT.parent / "shared/datasets", help="folder of the footage"
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="which of it")
    parser.add_argument("--full", action="store_true", help=f"clips of {FULL}, for a GPU or a long night")
    parser.add_argument("--tune", action="store_true", help="fine-tune, too: a night or two on two cores")
    parser.add_argument("--report-only", action="store_true", help="compute nothing; write what is known")
    arguments = parser.parse_args(argv)
    os.chdir(CHECKOUT)
    clip = FULL if arguments.full else FROZEN
    weights = arguments.weights.absolute()
    sets = [Footage(arguments.datasets / name) for name in arguments.sets]
    command = f"python -m benchmarks.people --weights WEIGHTS --sets {' '.join(arguments.sets)}"
    command += "".join(f" --{name}" for name in ("tune", "full") if getattr(arguments, name))

    def report() -> None:
        write_report(CHECKOUT, sets, clip, weights, RUNS, command)

    for footage in [] if arguments.report_only else sets:
        clips = footage.clips(clip, RUNS)
        for network in NETWORKS:
            frozen = Frozen(network, weights, RUNS / footage.name / "features" / clip.name)
            for shown in SHOWN:
                if frozen.known(shown) is None:
                    print(f"{time.strftime('%H:%M:%S')} {footage.name}: {network}, {shown}", flush=True)
                    frozen.outputs(clips, shown)
                    report()
    for footage in sets if arguments.tune and not arguments.report_only else []:
        for run in plan(footage):
            if run.found(RUNS / footage.name) is None:
                print(f"{time.strftime('%H:%M:%S')} {footage.name}: {run.folder(RUNS).name}", flush=True)
                execute(run, footage, weights, RUNS / footage.name)
                report()
    report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
