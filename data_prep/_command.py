"""What the modules' command lines have in common."""

import sys
from collections.abc import Callable

from octvideo.errors import INTERRUPTED, USER_MISTAKE, OctvideoError, one_line
from octvideo.text import shown


def exit_status(name: str, work: Callable[[], None]) -> int:
    """Does the work of `python -m data_prep.NAME`, and gives its exit code, as the `octvideo` command has them.

    0; 2 after one line about what was asked; 130 after Ctrl-C. Programming errors go on, with their trace.
    """
    try:
        work()
    except (OctvideoError, OSError) as error:
        print(f"python -m data_prep.{name}: {shown(one_line(error))}", file=sys.stderr)
        return error.exit_code if isinstance(error, OctvideoError) else USER_MISTAKE
    except KeyboardInterrupt:
        print(f"python -m data_prep.{name}: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    return 0
