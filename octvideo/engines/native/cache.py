"""Libraries compiled once for a machine and kept, and loaded only where nobody else can have written them.

A kept file ends with the digest of what is before it, which the system's loader passes over: one that was cut short or
changed is compiled again, where loading it would end the process (SIGBUS).
"""

import ctypes
import functools
import hashlib
import logging
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from octvideo.files import replacing

_DIGEST = hashlib.sha256
_log = logging.getLogger(__name__)


class KernelBuildError(RuntimeError):
    """There is no such library here: the command and what it said."""


def compiled(name: str, command: Sequence[str], sources: Sequence[Path]) -> ctypes.CDLL:
    """The library that a compiler makes, kept in `cache_folder` under a hash of the command and the sources.

    Where that folder cannot be written, is another user's or others may write to it, the process has one of its own.

    Args:
        name: what the file's name begins with.
        command: the compiler and its options, without what it reads and writes.
        sources: the last is what is compiled, the others are what it includes.

    Raises:
        KernelBuildError: the compiler refused, or what it made cannot be loaded.
    """
    key = _DIGEST("\n".join([*command, *(source.read_text() for source in sources)]).encode()).hexdigest()[
        :16
    ]
    command, file = [*command, str(sources[-1])], f"{name}_{key}.so"
    try:
        return _load(command, _checked(cache_folder()) / file)
    except OSError as error:
        _log.warning(
            "compiled kernels cannot be kept in %s (XDG_CACHE_HOME moves it), this process compiles its own: %s",
            cache_folder(),
            error,
        )
    try:
        return _load(command, Path(_folder_of_this_process().name, file))
    except OSError as error:
        raise KernelBuildError(f"{' '.join(command)} made what cannot be loaded: {error}") from error


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/octvideo``, ``~/.cache/octvideo`` where that is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")).absolute() / "octvideo"


def _checked(folder: Path) -> Path:
    """The folder, made where it is not there; raises PermissionError where others could put something into it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_own(folder.stat()):
        raise PermissionError("it is another user's, or others may write to it")
    # Whoever may write to a folder above could exchange this one, but where only owners rename (/tmp).
    above = next(
        (place for place in folder.resolve().parents if place.stat().st_mode & 0o1002 == 0o0002), None
    )
    if above is not None:
        raise PermissionError(f"anybody may write to {above}")
    return folder


def _is_own(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


@functools.cache
def _folder_of_this_process() -> tempfile.TemporaryDirectory[str]:
    """Nobody else can write there, and it goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="octvideo-kernels-")


def _load(command: list[str], file: Path) -> ctypes.CDLL:
    if not _is_whole(file):
        _compile(command, file)
    return ctypes.CDLL(str(file))


def _is_whole(file: Path) -> bool:
    """Whether this user wrote it, and it is as it was written."""
    try:
        with file.open("rb") as opened:
            own, content = _is_own(os.fstat(opened.fileno())), opened.read()
    except FileNotFoundError:
        return False
    size = _DIGEST().digest_size
    return own and _DIGEST(content[:-size]).digest() == content[-size:]


def _compile(command: list[str], file: Path) -> None:
    """Several processes may do this at once."""
    with replacing(file, shared=True) as made:
        try:
            run = subprocess.run(
                [*command, "-o", str(made)], capture_output=True, text=True, errors="replace"
            )
        except OSError as error:
            raise KernelBuildError(f"{command[0]} cannot be run: {error}") from error
        if run.returncode:
            said = run.stderr.strip() or f"exit code {run.returncode}"
            raise KernelBuildError(f"{' '.join(command)} failed:\n{said}")
        content = made.read_bytes()
        made.write_bytes(content + _DIGEST(content).digest())
        made.chmod(0o700)  # whatever the umask
