"""What `make demo` runs: render, train, test, and one table. `python -m benchmarks.demo`

Everything goes through the commands that a user types: `python -m data_prep.motions`, `octvideo fit` and
`octvideo test`. The second test shows every clip as its first frame repeated, so that nothing moves: what is
right then was not learnt from motion.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from data_prep.motions.__main__ import main as render_motions
from octvideo.cli import main as octvideo

CHECKOUT = Path(__file__).resolve().parents[1]
CONFIG = "configs/demo.yaml"
RUN = Path("runs/demo")  # as in the configuration
DATA = RUN / "data"
FIRST_FRAME = RUN / "first_frame"
TRAINED = RUN / "trained.json"  # written when a training ends; says what it was trained on


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
    console = Console()
    start = time.monotonic()

    console.rule("1/4  Videos")
    if code := render_motions([str(DATA)]):
        return code

    console.rule("2/4  Training")
    if code := _train(console, retrain=arguments.retrain):
        return code

    console.rule("3/4  Test")
    test = ["test", "--config", CONFIG, "--ckpt_path", str(RUN / "checkpoints" / "last.ckpt")]
    if code := octvideo(test):
        return code

    console.rule("4/4  Test without motion: the first frame of every clip, repeated")
    still = ["--data.repeat_first_frame", "true", "--trainer.default_root_dir", str(FIRST_FRAME)]
    if code := octvideo([*test, *still]):
        return code

    console.rule("Result")
    console.print(_result_table())
    for what, path in (
        ("checkpoint", RUN / "checkpoints" / "last.ckpt"),
        ("metrics", RUN / "metrics.json"),
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
    found = json.loads(TRAINED.read_text()) if TRAINED.is_file() else {}
    last = RUN / "checkpoints" / "last.ckpt"
    same = found.get("kind") == kind and last.is_file() and not retrain
    if same and found["finished"]:
        console.print(
            "Trained already, on these videos with this configuration; training again: "
            ".venv/bin/python -m benchmarks.demo --retrain",
            soft_wrap=True,
            highlight=False,
        )
        return 0
    _write_json(TRAINED, {"kind": kind, "finished": False})
    if not same:
        last.unlink(missing_ok=True)  # of other videos or another configuration
    start = time.monotonic()
    if code := octvideo(["fit", "--config", CONFIG, *(["--ckpt_path", "last"] if same else [])]):
        return code
    console.print(f"training took {_minutes(time.monotonic() - start)}", highlight=False)
    _write_json(TRAINED, {"kind": kind, "finished": True})
    return 0


def _kind_of_run() -> str:
    """Tells trainings apart: the videos' checksum and the configuration, hashed."""
    digest = hashlib.sha256((DATA / "motions.json").read_bytes())
    digest.update(Path(CONFIG).read_bytes())
    return digest.hexdigest()


def _result_table() -> Table:
    metrics = json.loads((RUN / "metrics.json").read_text())
    still = json.loads((FIRST_FRAME / "metrics.json").read_text())
    table = Table(title=f"{metrics['name']}, alpha {metrics['alpha']:g}, on videos never seen in training")
    table.add_column("test")
    for column in ("top-1", "top-5", "videos scored", "parameters", "GFLOPs a view", "dense twin's"):
        table.add_column(column, justify="right")

    def row(name: str, result: dict, *costs: str) -> None:
        table.add_row(
            name,
            f"{result['top1']:.1%}",
            f"{result['top5']:.1%}",
            f"{result['videos_scored']} of {result['videos_listed']}",
            *costs,
        )

    row(
        f"{metrics['num_views']} views a video",
        metrics,
        f"{metrics['parameters'] / 1e6:.2f} M",
        f"{metrics['gflops']:.3f}",
        f"{metrics['dense_gflops']:.3f}",
    )
    row("the same, first frame repeated", still)
    num_classes = metrics["num_classes"]
    table.add_row("chance", f"{1 / num_classes:.1%}", f"{min(1.0, 5 / num_classes):.1%}", style="dim")
    return table


def _write_json(path: Path, content: dict) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content) + "\n")
    os.replace(temporary, path)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


if __name__ == "__main__":
    sys.exit(main())
