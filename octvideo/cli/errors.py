"""From an exception to one line on the screen, or to a stack trace.

A user's mistake gets one line. What counts as one: the exceptions that this package raises on purpose, the option
parser's, the trainer's complaints about its settings, and everything that the operating system refuses. All else is
a programming error and keeps its stack trace.
"""

import re
import sys
import traceback
from pathlib import Path

from octvideo.errors import InputError

USER_MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130

_HERE = str(Path(__file__).resolve().parent.parent)
_WORKER = re.compile(r"^Caught (\w+) in (DataLoader worker|pin memory|replica)")


class UsageError(InputError):
    """The command line asks for something that cannot be done."""


def explain(error: BaseException) -> tuple[int, str | None]:
    """Exit code and one line for an exception; no line for a programming error, whose trace is to be shown."""
    if isinstance(error, BrokenPipeError):  # `octvideo predict … | head`: the reader has seen enough
        return FAILURE, ""
    if isinstance(error, SystemExit):
        # Lightning turns Ctrl-C into exit(1), rich a closed pipe.
        if isinstance(error.__context__, KeyboardInterrupt | BrokenPipeError):
            return explain(error.__context__)
        return (error.code if isinstance(error.code, int) else FAILURE), f"error: exit {error.code}"
    if type(error).__name__ == "Stopped" and hasattr(
        error, "exit_code"
    ):  # octvideo.training's; not imported here
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted; checkpoints and results written so far are kept"
    text = str(error)
    if "</torch_" in text or "out of shared memory" in text:
        return (
            FAILURE,
            "error: no room in shared memory (/dev/shm), through which workers hand over frames; lower "
            "data.num_workers or data.eval_batch_size, or enlarge it (docker run --shm-size)",
        )
    worker = _WORKER.match(text)
    if worker:
        if not _raised_here_in(text) and worker[1] not in _OS_ERRORS:
            return FAILURE, None
        return USER_MISTAKE, f"error: {_last_message(text)}"
    if type(error).__name__ == "OutOfMemoryError" and type(error).__module__.startswith("torch"):
        return (
            FAILURE,
            "error: out of GPU memory; lower data.batch_size (training) or model.view_batch_size (test)",
        )
    if (
        "DataLoader worker" in text
        and (watchdog := sys.modules.get("octvideo.data.watchdog"))
        and watchdog.killed
    ):
        return FAILURE, f"error: {watchdog.killed[-1]}"  # wherever its death was noticed
    if _is_user_mistake(error):
        return USER_MISTAKE, f"error: {_one_line(_os_text(error))}"
    return FAILURE, None


_OS_ERRORS = {"FileNotFoundError", "PermissionError", "IsADirectoryError", "NotADirectoryError", "OSError"}


def _is_user_mistake(error: BaseException) -> bool:
    module = type(error).__module__.partition(".")[0]
    if module in ("octvideo", "argparse", "jsonargparse") or isinstance(error, OSError):
        return True
    if type(error).__name__ == "MisconfigurationException":
        return True
    return isinstance(error, ValueError | ImportError) and _raised_by(
        error, ("octvideo", "lightning", "jsonargparse")
    )


def _raised_by(error: BaseException, packages: tuple[str, ...]) -> bool:
    """Whether the innermost frame of the traceback lies in one of the packages."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    file = frames[-1].filename
    return file.startswith(_HERE) or any(f"/site-packages/{package}/" in file for package in packages)


def _raised_here_in(text: str) -> bool:
    """The same question for a traceback that came out of a worker process as text."""
    files = re.findall(r'^  File "([^"]+)", line \d+', text, flags=re.MULTILINE)
    return bool(files) and files[-1].startswith(_HERE)


def _last_message(text: str) -> str:
    """The message at the end of a traceback's text, without the exception's name."""
    lines = text.rstrip().splitlines()
    last = next((line for line in reversed(lines) if re.match(r"^[\w.]+(: |$)", line)), lines[-1])
    return _one_line(last.partition(": ")[2] or last)


def _os_text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {Path(str(error.filename)).absolute()}"
    return str(error) or type(error).__name__


def _one_line(text: str) -> str:
    """One line out of a parser's message, which may come as an indented tree."""
    line = re.sub(r"\s+", " ", re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)).strip()
    union = re.search(r"Does not validate against any of the Union subtypes Subtypes: \[(.*?)\]", line)
    value = re.search(r"Given value: (.*)$", line)
    if union and value:
        allowed = union[1].replace("NoneType", "null").replace(", ", " or ")
        line = f"{line[: union.start()]}expected {allowed}, got {value[1]!r}"
    return line
