"""What octvideo raises on purpose, for the person who asked: everything else is a programming error.

The text of each is one line that holds the parameter, its value and what is allowed; a file by its absolute path. The
command line prints that line and exits with the class's `exit_code`; any other exception keeps its trace there, out of
a worker too. An exception that may cross a worker process takes a single string.
"""

import os

USER_MISTAKE, FAILURE = 2, 1  # exit codes
INTERRUPTED = 130  # 128 + SIGINT, as a shell says it


class OctvideoError(Exception):
    """The base of them all.

    A DataLoader makes a worker's exception again in the main process, of the same class but from the worker's whole
    trace, which ends with class and text. The text alone is kept, so that it reads the same wherever it was raised.

    Attributes:
        exit_code: what a command ends with.
    """

    exit_code = USER_MISTAKE

    def __init__(self, text: str) -> None:
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        own = text.rpartition(f"\n{name}: ")[2]
        super().__init__(" ".join(line.strip() for line in own.strip().splitlines()))


class InputError(OctvideoError, ValueError):
    """A value that was given is not allowed."""


class MissingPackageError(OctvideoError, ImportError):
    """An optional package is not installed; the text names the extra that brings it."""


class ProcessDiedError(OctvideoError):
    """A process that worked for this one has crashed or was killed; the text says which."""

    exit_code = FAILURE


def one_line(error: BaseException) -> str | None:
    """The line that a person gets for an exception: octvideo's own, and what the operating system refused.

    The class decides, not the place that raised it. None for all others, whose trace is to be shown.
    """
    if isinstance(error, OctvideoError):
        return str(error)
    if not isinstance(error, OSError):
        return None
    if error.strerror and error.filename:
        return f"{error.strerror}: {os.path.abspath(os.fsdecode(error.filename))}"
    text = str(error)
    if " in DataLoader worker " in text:  # a worker's trace; its last line is the error
        text = text.rstrip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split()) or type(error).__name__
