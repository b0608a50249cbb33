"""Whose a run folder is: one training at a time, and none over what another has left there."""

import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from octvideo.cli.errors import UsageError

LOCK = ".lock"
_ANOTHER = "--trainer.default_root_dir FOLDER starts one elsewhere"


def run_folder(asked: str | Path | None, model: str) -> Path:
    """The folder of a run: the one that was asked for, or the model's."""
    return Path(asked or Path("runs") / model)


def check_unused(folder: Path, checkpoints: Path, *, goes_on_from: Path | None, asked_for_last: bool) -> None:
    """Stops a training that would replace what an earlier one has left.

    It stops rather than moves the earlier one away: mostly `--ckpt_path last` was forgotten, and what tests,
    TensorBoard and notebooks have open stays where it is.

    Args:
        folder: the run folder.
        checkpoints: where its checkpoints go.
        goes_on_from: the checkpoint that is resumed, None for a training that starts.
        asked_for_last: whether that was to be last.ckpt, if there is one: the standing command of a scheduler, which
            starts anew what was killed before its first checkpoint.

    Raises:
        UsageError: the folder is used.
    """
    last = checkpoints / "last.ckpt"
    ours = goes_on_from is not None and goes_on_from.parent.resolve() == checkpoints.resolve()
    if goes_on_from is not None and ours and (goes_on_from.name == last.name or not last.is_file()):
        return
    used = sorted(file.name for file in checkpoints.glob("[!.]*.ckpt"))
    if not used and not asked_for_last and (folder / "metrics.csv").is_file():
        used = ["metrics.csv"]
    if used:
        resumes = "--ckpt_path last goes on with it, " if last.is_file() else ""
        raise UsageError(
            f"{folder.absolute()} holds a training already ({', '.join(used)}), which would be replaced; "
            f"{resumes}{_ANOTHER}"
        )


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The run folder for this process alone, until it is done or dead.

    A POSIX lock: unlike `flock`'s, it ends with the process itself and is not kept by workers that survive it.

    Raises:
        UsageError: another process trains there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # the two that POSIX allows
            file.seek(0)
            who = f" ({file.read().strip()})"
            raise UsageError(f"another training runs in {folder.absolute()}{who}; {_ANOTHER}") from None
        except OSError as error:
            warnings.warn(
                f"{folder}: no locks there ({error.strerror}); nothing keeps a second training out",
                stacklevel=2,
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
