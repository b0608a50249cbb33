"""Decodes every file of a collection and tells which are fit for training: `python -m data_prep.check`.

    python -m data_prep.check /data/kinetics400/train --out runs/check --jobs 16

Each file ends as ok, unreadable (with the reason), short or repeated (mostly the same picture). Results are in
OUT/check.jsonl as they come and in OUT/check.csv at the end; a second run does only what is new.
"""

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from octvideo.data.manifest import find_videos
from octvideo.files import replace_file
from octvideo.limits import Limits, check_numbers
from octvideo.parser import Parser
from octvideo.text import cell, shown

from . import _jobs
from ._command import exit_status, program

STATUSES = ("ok", "unreadable", "short", "repeated")
_COLUMNS = (
    "file",
    "status",
    "reason",
    "num_frames",
    "fps",
    "seconds",
    "header_seconds",
    "height",
    "width",
    "codec",
    "num_repeated",
    "mean_gop",
)


def check_file(path: str, min_seconds: float = 0.0, max_repeated: float = 0.9) -> dict[str, Any]:
    """Decodes one file.

    Args:
        path: the video.
        min_seconds: a shorter video is "short", and so is one whose end is cut off.
        max_repeated: a video with a larger share of repeated frames is "repeated".

    Returns:
        `{"status": one of STATUSES, "reason": text or absent, and the fields of VideoScan}`.
    """
    from octvideo.data.decode import (
        VideoDecodeError,
        scan_video,
    )  # torch, which lists and mistakes go without

    try:
        scan = scan_video(path)
    except VideoDecodeError as error:
        return {"status": "unreadable", "reason": error.reason}
    facts = asdict(scan)
    if scan.seconds < 0.8 * scan.header_seconds:
        return {
            "status": "short",
            "reason": f"{scan.seconds} s of {scan.header_seconds} s are there",
            **facts,
        }
    if scan.seconds < min_seconds:
        return {"status": "short", "reason": f"{scan.seconds} s, wanted are {min_seconds} s", **facts}
    if scan.num_repeated > max_repeated * scan.num_frames:
        return {"status": "repeated", "reason": f"{scan.num_repeated} of {scan.num_frames} frames", **facts}
    return {"status": "ok", **facts}


def check(
    paths: Iterable[str], out: Path, *, min_seconds: float = 0.0, max_repeated: float = 0.9, **how: Any
) -> dict[str, dict[str, Any]]:
    """Checks many files; see `data_prep._jobs.run` for `how`. Results by path, in their order."""
    items = {
        path: {"path": path, "min_seconds": min_seconds, "max_repeated": max_repeated}
        for path in dict.fromkeys(paths)
    }
    results = _jobs.run("check", items, out / "check.jsonl", **how)
    for result in results.values():
        if result["status"] == "failed":  # it hung or crashed
            result["status"] = "unreadable"

    def write(file: TextIO) -> None:
        writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for path, result in results.items():
            row = {"file": path, **result}
            writer.writerow({k: cell(v) if isinstance(v, str) else v for k, v in row.items()})

    replace_file(out / "check.csv", write)
    return results


def print_summary(results: dict[str, dict[str, Any]]) -> None:
    """A table of how many files ended how, and the reasons that came up most."""
    table = Table("status", "files", "reason", title=f"{len(results)} files")
    counts = Counter(result["status"] for result in results.values())
    for status in STATUSES:
        table.add_row(status, str(counts[status]), "")
        reasons = Counter(r.get("reason", "") for r in results.values() if r["status"] == status)
        if status == "unreadable":
            for reason, count in reasons.most_common(5):
                table.add_row("", str(count), escape(shown(reason)))
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog=program("check"), description=__doc__.split("\n\n")[0])
    parser.add_argument("videos", nargs="+", help="video files, folders or manifests")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--min-seconds", type=float, default=0.0, help="shorter videos are 'short'")
    parser.add_argument(
        "--max-repeated",
        type=float,
        default=0.9,
        help="share of repeated frames beyond which a video is 'repeated'",
    )
    _jobs.add_arguments(parser)
    return exit_status("check", lambda: _check(parser.parse_args(arguments)))


def _check(options: argparse.Namespace) -> None:
    limits = {"min_seconds": Limits(0), "max_repeated": Limits(0, 1)}
    check_numbers({name: getattr(options, name) for name in limits}, limits=limits)
    videos = find_videos(options.videos, missing="skip", allow_outside_root=True)
    results = check(
        videos.paths,
        options.out,
        min_seconds=options.min_seconds,
        max_repeated=options.max_repeated,
        **_jobs.chosen(options),
    )
    print_summary(results)
    print(f"results: {shown((options.out / 'check.csv').absolute())}")


if __name__ == "__main__":
    sys.exit(main())
