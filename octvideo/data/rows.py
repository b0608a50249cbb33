"""The rows of a manifest file in all their spellings, and the files that they name.

`octvideo.data.manifest` gives the rows their meaning: labels, roots, duplicates.
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from octvideo.errors import InputError

_LONGEST_LINE = 100_000


class ManifestError(InputError):
    """A manifest or class list that can't be used: absolute file, line number, what is wrong, what is allowed."""


class Row(NamedTuple):
    line: int
    names: tuple[str, ...]  # candidates, relative to the root
    label: str | None


def read_text(path: Path, *, names_of_files: bool = False) -> str:
    """A text file's content; bytes that are no UTF-8, which only names of files may have, as Python names files.

    Raises:
        ManifestError: it cannot be read, is no text, or has a line of more than 100,000 characters.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape" if names_of_files else "strict")
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ManifestError(f"{path}:{line}: is not UTF-8 text") from None
    for number, line_text in enumerate(text.split("\n"), 1):
        if "\0" in line_text:
            raise ManifestError(f"{path}:{number}: has a NUL character; is it a text file?")
        if len(line_text) > _LONGEST_LINE:
            raise ManifestError(f"{path}:{number}: {len(line_text)} characters, allowed are {_LONGEST_LINE}")
    return text


def rows(path: Path, labelled: bool, numbers: Mapping[str, int]) -> Iterator[Row]:
    if path.suffix == ".json":
        yield from _something_rows(path, labelled)
        return
    text = read_text(path, names_of_files=True).replace("\r\n", "\n")
    lines = text.split("\n")  # not splitlines: a name may hold U+2028 or the like
    first = next((line for line in lines if line.strip()), "")
    header = [field.strip().strip('"').lower() for field in first.split(",")]
    if "youtube_id" in header:
        yield from _kinetics_rows(path, text, labelled)
        return
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if line and not (line == first.strip() and header in (["path", "label"], ["path label"])):
            yield _plain_row(f"{path}:{number}", number, line, labelled, numbers)


def _plain_row(where: str, number: int, line: str, labelled: bool, numbers: Mapping[str, int]) -> Row:
    try:
        fields = [field.strip() for field in next(csv.reader([line], strict=True))]
    except csv.Error:  # quotes that are no CSV; they may be one of 'path label'
        fields = []
    *before, last = line.rsplit(maxsplit=1)
    if len(fields) == 2 and (is_number(fields[1]) or fields[1] in numbers or not fields[1]):
        name, label = fields
    elif before and all(map(is_number, last.split("|"))):
        name, label = before[0].strip('"'), last
    elif len(fields) == 2:
        name, label = fields  # an unknown label, or a number that is none; `_label` says so
    elif len(fields) == 1 and not labelled:
        name, label = fields[0], ""
    elif len(fields) > 2:
        raise ManifestError(f"{where}: {len(fields)} fields; allowed are 2, a path with a comma needs quotes")
    else:
        raise ManifestError(f"{where}: the label is missing; allowed is 'path label' or 'path,label'")
    if not name:
        raise ManifestError(f"{where}: the path is missing; allowed is 'path label' or 'path,label'")
    if labelled and not label:
        raise ManifestError(f"{where}: the label is missing; allowed is 'path label' or 'path,label'")
    return Row(number, (name,), label or None)


def _kinetics_rows(path: Path, text: str, labelled: bool) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    needed = ["youtube_id", "time_start", "time_end", *(["label"] if labelled else [])]
    lacking = [name for name in needed if name not in (reader.fieldnames or [])]
    if lacking:
        raise ManifestError(f"{path}:1: column {lacking[0]} is missing; needed are {', '.join(needed)}")
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ManifestError(f"{where}: {error}") from None
        where = f"{path}:{reader.line_num}"
        if None in fields or None in fields.values():
            raise ManifestError(
                f"{where}: {'too many' if None in fields else 'too few'} fields for the header"
            )
        try:
            start, end = (int(float(fields[name])) for name in ("time_start", "time_end"))
        except (ValueError, OverflowError):
            raise ManifestError(f"{where}: time_start or time_end is no number of seconds") from None
        name = f"{fields['youtube_id'].strip()}_{start:06d}_{end:06d}.mp4"
        label = (fields.get("label") or "").strip()
        if labelled and not label:
            raise ManifestError(f"{where}: the label is missing")
        # Copies in the wild hold all videos in one folder, or a folder a class, some with underscores.
        folders = ("", label, label.replace(" ", "_")) if label else ("",)
        yield Row(
            reader.line_num, tuple(dict.fromkeys(os.path.join(f, name) for f in folders)), label or None
        )


def _something_rows(path: Path, labelled: bool) -> Iterator[Row]:
    """Something-Something's annotations; a template's placeholders stand in brackets, which its class list has not."""
    content = _read_json(path)
    if not isinstance(content, list):
        raise ManifestError(f"{path}: a {type(content).__name__}; allowed is a list of videos")
    for number, video in enumerate(content, 1):
        where = f"{path}: video {number}"
        if not isinstance(video, dict) or not isinstance(video.get("id"), str) or not video["id"]:
            raise ManifestError(f"{where} has no id, a text")
        label = video.get("template")
        if label is not None and not isinstance(label, str):
            raise ManifestError(f"{where}: its template is {repr(label)[:80]}, allowed is a text")
        if labelled and not label:
            raise ManifestError(f"{where}: the template, which is its label, is missing")
        yield Row(number, (f"{video['id']}.webm",), label and label.replace("[", "").replace("]", ""))


def json_classes(path: Path) -> tuple[str, ...]:
    """Class names of a JSON file of name to number, `{"Closing something": "0", ...}`, in the order of the numbers.

    Raises:
        ManifestError: it is no such file, or the numbers are not those from 0 on.
    """
    content = _read_json(path)
    fits = isinstance(content, dict) and all(re.fullmatch("[0-9]{1,9}", str(n)) for n in content.values())
    if not fits or not isinstance(content, dict) or not content:
        raise ManifestError(f"{path}: no class list; allowed are class names with a number each")
    numbers = {name: int(number) for name, number in content.items()}
    if sorted(numbers.values()) != list(range(len(numbers))):
        raise ManifestError(f"{path}: the {len(numbers)} classes need the numbers 0 to {len(numbers) - 1}")
    return tuple(sorted(numbers, key=lambda name: numbers[name]))


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: no JSON: {error}") from None


def is_number(text: str) -> bool:
    return re.fullmatch("[+-]?[0-9]+", text) is not None


class Files:
    """Whether files exist, one listing a folder: a call a file is slow on network disks."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def has(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = {entry.name for entry in entries if _is_file(entry)}
            except OSError:
                self._names[folder] = set()
        return name in self._names[folder]

    @staticmethod
    def why_not(path: str) -> str:
        try:
            os.stat(path)
        except FileNotFoundError:
            return f"{path}: no such file"
        except OSError as error:
            return f"{path}: {error.strerror}"
        return f"{path}: not a file"


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a loop of symbolic links
        return False
