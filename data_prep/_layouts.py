"""What a data set lists, in each of the layouts that copies come in: (split, class name, file) triples.

Kinetics' annotation CSVs name clips; their files are looked up by name anywhere below the videos' folder, so
CVDF's flat `train/`, `val/`, `test/`, a folder a class, and other extensions are all found.
"""

import csv
import os
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from octvideo.data.manifest import ManifestError, video_files
from octvideo.errors import InputError

LAYOUTS = ("kinetics", "folders", "ucf101", "hmdb51")


class Listed(NamedTuple):
    """One video of a data set.

    Attributes:
        split: "train", "val" or "test".
        class_name: None where the split has no labels.
        path: relative to the videos' folder, None if there is no such file.
        name: as listed, for the report.
    """

    split: str
    class_name: str | None
    path: str | None
    name: str


def listed(
    layout: str, videos: Path, annotations: Sequence[Path] = (), *, split_number: int = 1
) -> Iterator[Listed]:
    """All videos of a data set, found or not.

    Args:
        layout: one of LAYOUTS.
        videos: folder of the videos.
        annotations: "kinetics": the CSV files; "ucf101": the folder of trainlist01.txt, …; "hmdb51": the
            folder of the *_test_split1.txt; "folders": none.
        split_number: which of the three splits of UCF101 and HMDB51.

    Raises:
        ManifestError: annotations that can't be read.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout is {layout!r}, allowed are {', '.join(LAYOUTS)}")
    if not videos.is_dir():
        raise ManifestError(f"{videos.absolute()}: no such folder")
    if layout != "folders" and not annotations:
        raise InputError(f"annotations is empty, layout {layout!r} needs it")
    if layout == "folders":
        yield from _folders(videos)
        return
    files = _by_stem(videos)
    for source in annotations:
        if layout == "kinetics":
            yield from _kinetics(source, files)
        elif layout == "ucf101":
            yield from _ucf101(source, files, split_number)
        else:
            yield from _hmdb51(source, files, split_number)


def group(layout: str, entry: Listed) -> tuple[str, str] | None:
    """The recording that a video was cut from: (class, group); None where the layout does not say.

    UCF101 numbers the groups of a class, `v_Archery_g07_c02`; HMDB51 puts the source before the class's name,
    `April_09_brush_hair_u_nm_np1_ba_goo_0`.
    """
    name, class_name = os.path.splitext(os.path.basename(entry.name))[0], entry.class_name or ""
    if layout == "ucf101":
        match = re.fullmatch(r"v_.+_g(\d+)_c\d+", name)
        return (class_name, f"group {match[1]}") if match else None
    if layout == "hmdb51":
        source, found, _ = name.rpartition(f"_{class_name}_")
        return (class_name, f"source {source!r}") if found else None
    return None


def check_groups(layout: str, entries: Sequence[Listed]) -> None:
    """Raises ManifestError if two splits share a group: a test on half-seen recordings says nothing."""
    first: dict[tuple[str, str], Listed] = {}
    for entry in entries:
        key = group(layout, entry)
        if key is None:
            continue
        other = first.setdefault(key, entry)
        if other.split != entry.split:
            raise ManifestError(
                f"{key[1]} of class {key[0]!r} is in {other.split} ({other.name}) and in {entry.split} "
                f"({entry.name}); allowed is a group in one split, or --allow-shared-groups"
            )


def hold_out(entries: Sequence[Listed], share: float, seed: int = 0) -> list[Listed]:
    """Moves that share of each class's training videos, one at least, to "val"; the others stay."""
    rng = random.Random(seed)
    of_class: dict[str | None, list[Listed]] = {}
    for entry in entries:
        if entry.split == "train":
            of_class.setdefault(entry.class_name, []).append(entry)
    held: set[Listed] = set()
    for name in sorted(of_class, key=str):
        videos = of_class[name]
        held.update(rng.sample(videos, max(1, round(share * len(videos))) if len(videos) > 1 else 0))
    return [entry._replace(split="val") if entry in held else entry for entry in entries]


def _video_files(folder: Path) -> Iterator[str]:
    """Their paths in the folder."""
    return (os.path.relpath(path, folder) for path in video_files(folder))


def _by_stem(videos: Path) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for path in _video_files(videos):
        files.setdefault(os.path.splitext(os.path.basename(path))[0], []).append(path)
    return files


def _pick(candidates: Sequence[str], split: str, class_name: str | None) -> str | None:
    """Of several files of one name, that in the folder of its class, else of its split, else the first."""
    wanted = {split, class_name, (class_name or "").replace(" ", "_")}
    return max(candidates, key=lambda path: len(wanted & set(path.split(os.sep)[:-1])), default=None)


def _kinetics(source: Path, files: dict[str, list[str]]) -> Iterator[Listed]:
    splits = {
        "train": "train",
        "val": "val",
        "validate": "val",
        "validation": "val",
        "test": "test",
        "holdout": "test",
    }
    try:
        with source.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text, skipinitialspace=True)
            for column in ("youtube_id", "time_start", "time_end"):
                if column not in (reader.fieldnames or []):
                    raise ManifestError(f"{source.absolute()}:1: column {column} is missing")
            for row in reader:
                where = f"{source.absolute()}:{reader.line_num}"
                try:
                    start, end = int(float(row["time_start"])), int(float(row["time_end"]))
                except (TypeError, ValueError):
                    raise ManifestError(f"{where}: time_start or time_end is no number of seconds") from None
                split = splits.get((row.get("split") or source.stem).strip().lower())
                if split is None:
                    raise ManifestError(
                        f"{where}: split {row.get('split')!r} is unknown, allowed are {set(splits)}"
                    )
                name = f"{row['youtube_id'].strip()}_{start:06d}_{end:06d}"
                class_name = (row.get("label") or "").strip() or None
                yield Listed(split, class_name, _pick(files.get(name, ()), split, class_name), name)
    except OSError as error:
        raise ManifestError(f"{source.absolute()}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{source.absolute()}: is not UTF-8 text") from None


def _folders(videos: Path) -> Iterator[Listed]:
    """SPLIT/CLASS/FILE, or CLASS/FILE for a single split, "train"."""
    splits = {"train": "train", "val": "val", "validation": "val", "test": "test"}
    for path in _video_files(videos):
        parts = path.split(os.sep)
        if len(parts) >= 3 and parts[0] in splits:
            yield Listed(splits[parts[0]], parts[1], path, path)
        elif len(parts) >= 2:
            yield Listed("train", parts[0], path, path)


def _ucf101(folder: Path, files: dict[str, list[str]], number: int) -> Iterator[Listed]:
    for split, name in (("train", "trainlist"), ("test", "testlist")):
        for line in _lines(folder / f"{name}{number:02d}.txt"):
            listed_path = line.split()[0]
            class_name, _, file = listed_path.rpartition("/")
            path = _pick(files.get(os.path.splitext(file)[0], ()), split, class_name)
            yield Listed(split, class_name, path, listed_path)


def _hmdb51(folder: Path, files: dict[str, list[str]], number: int) -> Iterator[Listed]:
    ending = f"_test_split{number}.txt"
    sources = sorted(path for path in folder.glob(f"*{ending}"))
    if not sources:
        raise ManifestError(f"{folder.absolute()}: no *{ending} here")
    for source in sources:
        class_name = source.name.removesuffix(ending)
        for number_of_line, line in enumerate(_lines(source), 1):
            name, _, use = line.rpartition(" ")
            if use not in ("0", "1", "2") or not name:
                raise ManifestError(
                    f"{source.absolute()}:{number_of_line}: allowed is 'file 0', 'file 1' or 'file 2'"
                )
            if use != "0":
                split = "train" if use == "1" else "test"
                path = _pick(files.get(os.path.splitext(name.strip())[0], ()), split, class_name)
                yield Listed(split, class_name, path, f"{class_name}/{name.strip()}")


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path.absolute()}: {error.strerror}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
