"""python -m data_prep.motions OUT"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

from octvideo.errors import MissingPackageError
from octvideo.parser import Parser

from .._command import exit_status, program
from .dataset import Plan, render


def main(argv: list[str] | None = None) -> int:
    """Renders the demo data set; returns the exit code."""
    parser = Parser(
        prog=program("motions"),
        description="Render videos of photographs that move in eight ways, for the demo.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    defaults = Plan()
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make or to complete")
    for split in ("train", "val", "test"):
        default = getattr(defaults, f"num_{split}")
        parser.add_argument(f"--num-{split}", type=int, default=default, help=f"videos in {split}.csv")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="same seed, same bytes")
    parser.add_argument("--min-side", type=int, default=defaults.min_side, help="least shorter side, pixels")
    parser.add_argument(
        "--max-side", type=int, default=defaults.max_side, help="greatest shorter side, pixels"
    )
    parser.add_argument("--jobs", type=int, default=-1, help="processes; -1 is one a core")
    return exit_status("motions", lambda: _render(parser.parse_args(argv)))


def _render(options: argparse.Namespace) -> None:
    missing = [name for name in ("skimage", "joblib") if find_spec(name) is None]
    if missing:
        raise MissingPackageError(f"{' and '.join(missing)} are missing: pip install 'octvideo[prep]'")
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    start = time.monotonic()
    plan = Plan(**{field.name: getattr(options, field.name) for field in fields(Plan)})
    with Progress(
        TextColumn("rendering videos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    ) as bar:
        task = bar.add_task("", total=None, visible=False)
        rendered = render(
            options.out,
            plan,
            jobs=options.jobs,
            on_video=lambda done, total: bar.update(task, completed=done, total=total, visible=True),
        )
    videos = sum(1 for _ in plan.videos())
    if rendered:
        took = f"{rendered} of {videos} videos rendered in {time.monotonic() - start:.0f} s"
    else:
        took = f"all {videos} videos were there already"
    print(f"{options.out.resolve()}: {took}")


if __name__ == "__main__":
    sys.exit(main())
