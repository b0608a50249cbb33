"""What `make demo` runs: render, train, test, and one table. `python -m benchmarks.demo`

Everything goes through the commands that a user types: `python -m data_prep.motions`, `octvideo fit` and
`octvideo test`. The second test shows every clip as its first frame repeated, so that nothing moves: what is
right then was not learnt from motion.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from data_prep.motions.__main__ import main as render_motions
from octvideo.cli import main as octvideo
from octvideo.files import replace_file

CHECKOUT = Path(__file__).resolve().parents[1]
CONFIG = "configs/demo.yaml"
RUN = Path("runs/demo")  # as in the configuration
DATA = RUN / "data"
CHECKPOINT = RUN / "checkpoints" / "best.ckpt"  # by validation top-1
FIRST_FRAME = RUN / "first_frame"
TRAINING = RUN / "training.json"  # what the checkpoints were trained on


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo in the checkout; returns the exit code of the first step that fails, or 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demo",
        description="Render the demo data set, train a small octave I3D on it and test it, into runs/demo.",
    )
    parser.add_argument(
        "--retrain", action="store_true", help="train again where a finished training is there"
    )
    arguments = parser.parse_args(argv)
    os.chdir(CHECKOUT)  # the configuration's paths start there
    # Threads that wait for one another give the core to the decoding processes, rather than spin on it. Read when
    # torch is imported, which nothing above does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    console = Console()
    start = time.monotonic()

    console.rule("1/4  Videos")
    if code := render_motions([str(DATA)]):
        return code

    console.rule("2/4  Training")
    if code := _train(console, retrain=arguments.retrain):
        return code

    console.rule("3/4  Test")
    test = ["test", "--config", CONFIG, "--ckpt_path", str(CHECKPOINT)]
    if code := octvideo(test):
        return code

    console.rule("4/4  Test without motion: the first frame of every clip, repeated")
    still = ["--data.repeat_first_frame", "true", "--trainer.default_root_dir", str(FIRST_FRAME)]
    if code := octvideo([*test, *still]):
        return code

    console.rule("Result")
    console.print(_result_table())
    for what, path in (
        ("checkpoint", CHECKPOINT),
        ("metrics", RUN / "metrics.json"),
        ("report", RUN / "report.html"),
        ("training log", RUN / "metrics.csv"),
        ("training curves", RUN / "curves.png"),
        ("confusion matrix", RUN / "confusion.png"),
        ("each test video", RUN / "predictions.csv"),
        ("first-frame test", FIRST_FRAME / "metrics.json"),
        ("videos", DATA),
    ):
        console.print(f"{what:>16}  {path.resolve()}", soft_wrap=True, highlight=False)
    console.print(f"\nThe demo took {_minutes(time.monotonic() - start)}.", highlight=False)
    return 0


def _train(console: Console, *, retrain: bool) -> int:
    """`octvideo fit`, which goes on from the last checkpoint of an interrupted run of the same kind."""
    kind = _kind_of_run()
    last = RUN / "checkpoints" / "last.ckpt"
    same = TRAINING.is_file() and json.loads(TRAINING.read_text()) == kind and last.is_file()
    if same and not retrain and _is_trained():
        console.print(
            "Trained already, on these videos with this configuration; to train again: "
            ".venv/bin/python -m benchmarks.demo --retrain",
            soft_wrap=True,
            highlight=False,
        )
        return 0
    if retrain or not same:
        for file in (TRAINING, RUN / "metrics.csv", *(RUN / "checkpoints").glob("*.ckpt")):
            file.unlink(missing_ok=True)
        replace_file(TRAINING, lambda out: out.write(json.dumps(kind) + "\n"))
    start = time.monotonic()
    if code := octvideo(["fit", "--config", CONFIG, "--ckpt_path", "last"]):
        return code
    if not _is_trained():
        print("benchmarks.demo: the training was stopped; the same command goes on with it", file=sys.stderr)
        return 1
    console.print(f"training took {_minutes(time.monotonic() - start)}", highlight=False)
    return 0


def _is_trained() -> bool:
    """Whether the training log goes to the end of the last epoch."""
    if not (RUN / "metrics.csv").is_file():
        return False
    with (RUN / "metrics.csv").open(newline="") as file:
        epochs = [int(row["epoch"]) for row in csv.DictReader(file) if row.get("train/top1")]
    wanted = yaml.safe_load(Path(CONFIG).read_text())["trainer"]["max_epochs"]
    return bool(epochs) and max(epochs) + 1 >= wanted


def _kind_of_run() -> dict[str, str]:
    """Tells trainings apart: hashes of what decides the videos, and of the configuration."""
    files = {"videos": DATA / "motions.json", "configuration": Path(CONFIG)}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def _result_table() -> Table:
    metrics = json.loads((RUN / "metrics.json").read_text())
    still = json.loads((FIRST_FRAME / "metrics.json").read_text())
    table = Table(
        title=f"{metrics['name']}, alpha {metrics['alpha']:g}, on photographs that training never showed",
        box=box.SIMPLE,
        pad_edge=False,
    )
    table.add_column("test", no_wrap=True)
    for column in ("top-1", "top-5", "videos\nscored", "parameters", "GFLOPs\na view", "dense\ntwin"):
        table.add_column(column, justify="right", no_wrap=True)

    def row(name: str, result: dict, *costs: str) -> None:
        scored = f"{result['videos_scored']}/{result['videos_listed']}"
        table.add_row(name, f"{result['top1']:.1%}", f"{result['top5']:.1%}", scored, *costs)

    row(
        f"{metrics['num_views']} views a video",
        metrics,
        f"{metrics['parameters'] / 1e6:.2f} M",
        f"{metrics['gflops']:.3f}",
        f"{metrics['dense_gflops']:.3f}",
    )
    row("first frame only", still)
    num_classes = metrics["num_classes"]
    table.add_row("chance", f"{1 / num_classes:.1%}", f"{min(1.0, 5 / num_classes):.1%}", style="dim")
    return table


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


if __name__ == "__main__":
    sys.exit(main())
