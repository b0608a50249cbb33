"""Manifests: CSV files that list videos and their labels, and the ordered list of class names.

Read are, told apart by the first line:

    path label                                               as PySlowFast and pytorchvideo; the label is the
                                                             last field, so paths may hold spaces
    path,label                                               quoted as in CSV where the path holds a comma
    label,youtube_id,time_start,time_end,split[,is_cc]       Kinetics' own annotations
    [{"id": ..., "template": ...}, ...]                      Something-Something's, in JSON; its class list, too

A label is a number, or a class name where the class list is known; several are joined by `|`, where videos may be of
several classes. A row of Kinetics' annotations stands for
`{youtube_id}_{time_start:06d}_{time_end:06d}.mp4`, in the root or in the root's folder of the class's name; one of
Something-Something's for `{id}.webm`.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from octvideo.data.class_lists import class_list_file
from octvideo.data.labels import Label
from octvideo.data.rows import Files, ManifestError, is_number, json_classes, read_text, rows
from octvideo.errors import InputError

_log = logging.getLogger(__name__)

MISSING = ("error", "skip")
_MOST_DIGITS = 18
VIDEO_EXTENSIONS = (
    ".mp4",
    ".mkv",
    ".webm",
    ".avi",
    ".mov",
    ".m4v",
    ".flv",
    ".wmv",
    ".mpg",
    ".mpeg",
    ".ts",
    ".3gp",
)


@dataclass(frozen=True)
class Manifest:
    """Videos and labels in the order of the file.

    Attributes:
        source: absolute path of the file, or a short description.
        paths: absolute paths of the videos.
        labels: class numbers, -1 for a video without one; tuples of them where a video may have several.
        num_missing: rows left out because their file is not there.
    """

    source: str
    paths: tuple[str, ...]
    labels: tuple[Label, ...]
    num_missing: int = 0

    def __len__(self) -> int:
        return len(self.paths)


def read_class_list(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names in the order of their numbers, one a line; or Something-Something's, a JSON file of name to number.

    Args:
        path: of the text file, UTF-8; or kinetics400, kinetics600 or kinetics700, where no file has that name.

    Raises:
        ManifestError: no such file, an empty line among the names, or a name twice.
    """
    path = class_list_file(path)
    if path.suffix == ".json":
        return json_classes(path)
    names = [line.strip() for line in read_text(path).rstrip().split("\n")]
    if not any(names):
        raise ManifestError(f"{path}: the class list is empty; allowed is one class name a line")
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise ManifestError(f"{path}:{number}: empty line; allowed is one class name a line")
        if name in seen:
            raise ManifestError(f"{path}:{number}: class {name!r} is already on line {seen[name]}")
        seen[name] = number
    return tuple(names)


def read_manifest(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    labelled: bool = True,
    multi_label: bool = False,
    missing: str = "error",
    allow_outside_root: bool = False,
) -> Manifest:
    """Reads a manifest and checks every row of it.

    Args:
        path: the CSV file.
        root: folder that the rows' paths are relative to; None is the file's own folder.
        class_names: ordered class names; needed for labels that are names.
        num_classes: labels must be below it; None is the number of class names, if those are given.
        labelled: whether every row needs a label; without, rows may be bare paths and get label -1.
        multi_label: whether a row may have several, `run|jump`; every label is a tuple then.
        missing: "error", or "skip" to leave out rows whose video is not there (usual for Kinetics, whose
            videos vanish from YouTube); how many is logged and kept in the result.
        allow_outside_root: whether a path may lead out of the root. Symbolic links in the root are followed
            either way.

    Raises:
        ManifestError: see the class.
    """
    if missing not in MISSING:
        raise InputError(f"missing is {missing!r}, allowed are {', '.join(MISSING)}")
    path = Path(path).expanduser().absolute()
    base = str(path.parent if root is None else Path(root).expanduser().absolute())
    if not os.path.isdir(base):
        raise ManifestError(f"root is {base}, which is not a folder")
    numbers = {name: number for number, name in enumerate(class_names)} if class_names is not None else {}
    limit = num_classes if num_classes is not None else (len(numbers) or None)

    files = Files()
    first_line: dict[str, int] = {}
    paths: list[str] = []
    labels: list[Label] = []
    num_missing = 0
    for row in rows(path, labelled, numbers):
        where = f"{path}:{row.line}"
        label: Label = -1
        if multi_label and row.label is not None:
            parts = [_label(part.strip(), where, labelled, numbers, limit) for part in row.label.split("|")]
            label = tuple(dict.fromkeys(parts))
        else:
            label = _label(row.label, where, labelled, numbers, limit)
        candidates = [_resolve(name, base, where, allow_outside_root) for name in row.names]
        found = next((candidate for candidate in candidates if files.has(candidate)), None)
        video = found or candidates[0]
        if video in first_line:
            raise ManifestError(f"{where}: {video} is already on line {first_line[video]}")
        first_line[video] = row.line
        if found is None:
            if missing == "error":
                raise ManifestError(f"{where}: {files.why_not(video)}; missing='skip' leaves such rows out")
            num_missing += 1
            continue
        paths.append(video)
        labels.append(label)
    if num_missing:
        _log.warning(
            "%s: %d of %d videos are not there and left out", path, num_missing, num_missing + len(paths)
        )
    if not paths:
        what = f"all {num_missing} videos are missing" if num_missing else "lists no video"
        raise ManifestError(
            f"{path}: {what}; allowed are lines 'path label', 'path,label' or Kinetics' columns, or "
            "Something-Something's JSON"
        )
    return Manifest(str(path), tuple(paths), tuple(labels), num_missing)


def find_videos(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
    multi_label: bool = False,
    missing: str = "error",
    allow_outside_root: bool = False,
) -> Manifest:
    """Videos to predict: files, folders (`video_files` of them) and manifests (.csv, .txt, .json).

    Raises:
        ManifestError: a source that is not there, or a folder without videos.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    paths: list[str] = []
    labels: list[Label] = []
    for source in sources:
        path = Path(source).expanduser().absolute()
        if path.is_dir():
            found = list(map(str, video_files(path)))
            if not found:
                raise ManifestError(
                    f"{path}: no video in this folder; known are {' '.join(VIDEO_EXTENSIONS)}"
                )
            paths += found
            labels += [-1] * len(found)
        elif path.suffix.lower() in (".csv", ".txt", ".json"):
            listed = read_manifest(
                path,
                root=root,
                class_names=class_names,
                labelled=False,
                multi_label=multi_label,
                missing=missing,
                allow_outside_root=allow_outside_root,
            )
            paths += listed.paths
            labels += [-1] * len(listed) if multi_label else listed.labels  # nobody asks for them
        elif path.exists():
            paths.append(str(path))
            labels.append(-1)
        else:
            raise ManifestError(f"{path}: no such file or folder")
    if not paths:
        raise ManifestError("predict_paths is empty, allowed are video files, folders and manifests")
    return Manifest("predict_paths", tuple(paths), tuple(labels))


def video_files(folder: Path) -> Iterator[Path]:
    """The videos below a folder, by name; links to folders are not followed, so loops end.

    Hidden files, of a name that begins with a dot, are none: some program is writing them, or has left them.
    """
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS:
                yield Path(where, name)


def _label(text: str | None, where: str, labelled: bool, numbers: dict[str, int], limit: int | None) -> int:
    if text is None:
        return -1
    if text in numbers:
        return numbers[text]
    if not is_number(text):
        if not labelled and not numbers:
            return -1
        known = (
            f"one of the {len(numbers)} names of the class list"
            if numbers
            else "a number (no class_list given)"
        )
        raise ManifestError(f"{where}: label {text[:80]!r} is unknown, allowed is {known}")
    # More digits than any number of classes has; Python itself refuses thousands of them.
    label = int(text) if len(text) <= _MOST_DIGITS else -1
    if label < 0 or (limit is not None and label >= limit):
        allowed = f"0 to {limit - 1}" if limit is not None else "0 or more"
        raise ManifestError(f"{where}: label {text[:80]} is out of range, allowed is {allowed}")
    return label


def _resolve(name: str, base: str, where: str, allow_outside_root: bool) -> str:
    """Absolute path of a row's video. Lexical: `..` counts, symbolic links do not."""
    path = os.path.normpath(os.path.join(base, name))
    if not allow_outside_root and os.path.commonpath([os.path.normpath(base), path]) != os.path.normpath(
        base
    ):
        raise ManifestError(
            f"{where}: {path} is outside the root {base}; allowed with allow_outside_root=True"
        )
    return path
