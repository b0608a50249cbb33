"""Writes the manifests of a data set: `python -m data_prep.manifest`.

    python -m data_prep.manifest /data/kinetics400 lists/ --layout kinetics --annotations train.csv val.csv

OUT gets train.csv, val.csv and test.csv (`path,label`, paths relative to the videos' folder), classes.txt (the
ordered class list) and report.json: what was listed, found, missing, unreadable, short or repeated, and how
many of each class. `--checked` takes the results of `data_prep.check`; `data_prep.kinetics` does both.
"""

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from octvideo.data.manifest import ManifestError, read_class_list
from octvideo.errors import InputError
from octvideo.files import replace_file
from octvideo.parser import Parser
from octvideo.text import shown

from . import _jobs
from ._command import exit_status, program
from ._layouts import LAYOUTS, Listed, check_groups, hold_out, listed
from .check import STATUSES

SPLITS = ("train", "val", "test")


def write_manifests(
    entries: Iterable[Listed],
    videos: Path,
    out: Path,
    *,
    checked: Mapping[str, dict[str, Any]] | None = None,
    drop: Sequence[str] = ("unreadable",),
    class_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Writes manifests, class list and report.

    Args:
        entries: what the data set lists.
        videos: folder that the paths are relative to.
        out: folder to write.
        checked: results of `data_prep.check` by absolute path; None writes every file that is there.
        drop: results whose videos are left out.
        class_names: ordered class names; None is all that occur, sorted.

    Returns:
        The report.

    Raises:
        ManifestError: a video listed twice in a split, or a class that is not in `class_names`.
    """
    entries = list(entries)
    names = list(class_names) if class_names else sorted({e.class_name for e in entries if e.class_name})
    numbers = {name: number for number, name in enumerate(names)}
    report: dict[str, Any] = {"videos": str(videos.absolute()), "classes": len(names), "splits": {}}
    out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        of_split = [entry for entry in entries if entry.split == split]
        if of_split:
            rows, report["splits"][split] = _split(of_split, videos, numbers, checked, drop)
            _write(out / f"{split}.csv", rows)
    if not report["splits"]:
        raise ManifestError(f"{videos.absolute()}: no video is listed")
    replace_file(out / "classes.txt", lambda file: file.writelines(f"{name}\n" for name in names))
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    replace_file(out / "report.json", lambda file: file.write(text))
    return report


def _split(
    entries: Sequence[Listed],
    videos: Path,
    numbers: Mapping[str, int],
    checked: Mapping[str, dict[str, Any]] | None,
    drop: Sequence[str],
) -> tuple[list[tuple[str, int | None]], dict[str, Any]]:
    """Rows (path, label) of one split, and its part of the report."""
    rows: list[tuple[str, int | None]] = []
    seen: set[str] = set()
    missing: list[str] = []
    dropped: dict[str, dict[str, str]] = {status: {} for status in STATUSES if status != "ok"}
    seconds: list[float] = []
    classes: Counter[str] = Counter()
    for entry in entries:
        if entry.class_name is not None and entry.class_name not in numbers:
            raise ManifestError(f"{entry.name}: class {entry.class_name!r} is not in the class list")
        if entry.path is None:
            missing.append(entry.name)
            continue
        if entry.path in seen:
            raise ManifestError(f"{entry.name} is listed twice in {entry.split}")
        seen.add(entry.path)
        result = (checked or {}).get(str((videos / entry.path).absolute()), {"status": "ok"})
        seconds += [result["seconds"]] if "seconds" in result else []
        if result["status"] != "ok":
            dropped[result["status"]][entry.path] = result.get("reason", "")
        if result["status"] == "ok" or result["status"] not in drop:
            rows.append((entry.path, None if entry.class_name is None else numbers[entry.class_name]))
            classes.update([entry.class_name] if entry.class_name else [])
    report = {
        "listed": len(entries),
        "found": len(seen),
        "missing": len(missing),
        # None: not checked, since nothing was decoded
        **{status: len(files) if checked is not None else None for status, files in dropped.items()},
        "written": len(rows),
        "seconds": {"least": min(seconds), "median": median(seconds), "most": max(seconds)}
        if seconds
        else None,
        "videos a class": dict(sorted(classes.items())),
        "files": {"missing": missing, **dropped},
    }
    return rows, report


def _write(path: Path, rows: Sequence[tuple[str, int | None]]) -> None:
    def write(file: TextIO) -> None:
        # Quotes where a path holds a comma; a split without labels lists bare paths.
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([name] if label is None else [name, label] for name, label in rows)

    replace_file(path, write)


def print_report(report: Mapping[str, Any]) -> None:
    """The report's counts as a table, a column a split."""
    table = Table(
        "", *report["splits"], title=escape(shown(f"{report['videos']}, {report['classes']} classes"))
    )
    for name in ("listed", "found", "missing", "unreadable", "short", "repeated", "written"):
        counts = [split[name] for split in report["splits"].values()]
        table.add_row(name, *("not checked" if count is None else str(count) for count in counts))
    for name, choose in (("least", min), ("most", max)):
        classes = (split["videos a class"].values() for split in report["splits"].values())
        table.add_row(f"{name} videos a class", *(str(choose(counts, default=0)) for counts in classes))
    Console().print(table)


def read_checked(folder: Path) -> dict[str, dict[str, Any]]:
    """Results of `data_prep.check` by path, from the folder that it wrote."""
    results = _jobs.read_results(folder / "check.jsonl")
    if not results:
        raise ManifestError(f"{(folder / 'check.jsonl').absolute()}: no results of data_prep.check here")
    for result in results.values():
        if result["status"] == "failed":
            result["status"] = "unreadable"
    return results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("videos", type=Path, help="folder of the videos")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument(
        "--annotations", type=Path, nargs="+", default=[], help="CSV files, or folder of split files"
    )
    parser.add_argument("--class-list", type=Path, help="ordered class names (default: those listed, sorted)")
    parser.add_argument(
        "--drop",
        nargs="*",
        choices=STATUSES[1:],
        default=["unreadable"],
        help="left out (default: unreadable)",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog=program("manifest"), description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    parser.add_argument("--layout", choices=LAYOUTS, default="kinetics", help="how the data set is laid out")
    parser.add_argument(
        "--split-number", type=int, choices=[1, 2, 3], default=1, help="UCF101, HMDB51: which split"
    )
    parser.add_argument(
        "--hold-out",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="move this share of each class's training videos to val.csv",
    )
    parser.add_argument(
        "--allow-shared-groups",
        action="store_true",
        help="UCF101, HMDB51: take a split in which train and test have videos of one recording",
    )
    parser.add_argument("--checked", type=Path, help="folder of the results of data_prep.check")
    return exit_status("manifest", lambda: _make(parser.parse_args(arguments)))


def _make(options: argparse.Namespace) -> None:
    if not 0 <= options.hold_out < 1:
        raise InputError(f"--hold-out is {options.hold_out}, allowed is a share, from 0 to below 1")
    entries = list(
        listed(options.layout, options.videos, options.annotations, split_number=options.split_number)
    )
    if not options.allow_shared_groups:
        check_groups(options.layout, entries)
    if options.hold_out:
        entries = hold_out(entries, options.hold_out)
    write_and_report(
        entries,
        options,
        checked=read_checked(options.checked) if options.checked else None,
        class_names=read_class_list(options.class_list) if options.class_list else None,
    )


def write_and_report(
    entries: Sequence[Listed],
    options: argparse.Namespace,
    *,
    checked: Mapping[str, dict[str, Any]] | None,
    class_names: Sequence[str] | None,
) -> None:
    """Writes the manifests that the options of `add_arguments` ask for, and prints what came of it."""
    report = write_manifests(
        entries, options.videos, options.out, checked=checked, drop=options.drop, class_names=class_names
    )
    print_report(report)
    print(shown(f"manifests: {options.out.absolute()} (root: {options.videos.absolute()})"))


if __name__ == "__main__":
    sys.exit(main())
