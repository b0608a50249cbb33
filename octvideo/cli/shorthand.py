"""The friendly forms: `octvideo test FILE.ckpt …` and `octvideo predict FILE.ckpt VIDEO FOLDER 'GLOB' …`."""

import glob
import json
from pathlib import Path

from octvideo.cli.errors import UsageError
from octvideo.data.manifest import VIDEO_EXTENSIONS


def expand(command: str, args: list[str]) -> list[str]:
    """Turns what comes before the first option into options.

    Args:
        command: "validate", "test" or "predict".
        args: what follows it on the command line.

    Raises:
        UsageError: a video where the checkpoint should be, too many arguments, or a pattern without a match.
    """
    if args[:1] == ["--exported"] and len(args) > 1:
        # An exported network stands where the checkpoint would.
        options = expand(command, args[1:])
        return [option if option != "--ckpt_path" else "--exported" for option in options]
    count = next((i for i, arg in enumerate(args) if arg.startswith("-")), len(args))
    words, options = args[:count], args[count:]
    if not words:
        return options
    if Path(words[0]).suffix.lower() in VIDEO_EXTENSIONS:
        raise UsageError(
            f"{words[0]} is a video; a checkpoint comes first: octvideo {command} FILE.ckpt {words[0]}; without one of "
            f"your own: octvideo weights i3d_inception, then octvideo {command} i3d_inception {words[0]}"
        )
    expanded = ["--ckpt_path", words[0]]
    if words[1:] and command != "predict":
        raise UsageError(f"octvideo {command} takes one checkpoint, got {words[1]!r} too")
    if words[1:]:
        expanded.append(f"--data.predict_paths={json.dumps(_videos(words[1:]))}")
    return [*options, *expanded]


def _videos(words: list[str]) -> list[str]:
    videos = []
    for word in words:
        if Path(word).exists() or not glob.has_magic(word):
            videos.append(word)
            continue
        found = sorted(glob.glob(word, recursive=True))
        if not found:
            raise UsageError(f"no file matches {word!r} in {Path.cwd()}")
        videos += found
    return videos
