"""What the modules' command lines have in common."""

import sys
from collections.abc import Callable

from octvideo.errors import INTERRUPTED, USER_MISTAKE, OctvideoError, one_line
from octvideo.text import shown


def program(name: str) -> str:
    """How a module is called: as one of the installed package, or of a checkout's folder."""
    return f"octvideo prep {name}" if __package__ == "octvideo.prep" else f"python -m data_prep.{name}"


def exit_status(name: str, work: Callable[[], None]) -> int:
    """Does the work of a module, and gives its exit code, as the `octvideo` command has them.

    0; 2 after one line about what was asked; 130 after Ctrl-C. Programming errors go on, with their trace.
    """
    try:
        work()
    except (OctvideoError, OSError) as error:
        print(f"{program(name)}: {shown(one_line(error))}", file=sys.stderr)
        return error.exit_code if isinstance(error, OctvideoError) else USER_MISTAKE
    except KeyboardInterrupt:
        print(f"{program(name)}: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    return 0
