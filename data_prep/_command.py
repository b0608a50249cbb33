"""What the modules' command lines have in common."""

import sys
from collections.abc import Callable


def exit_status(name: str, work: Callable[[], None]) -> int:
    """Does the work of `python -m data_prep.NAME`: 0, or 1 after one line about a user's mistake."""
    try:
        work()
    except (ValueError, OSError) as error:
        print(f"python -m data_prep.{name}: {error}", file=sys.stderr)
        return 1
    return 0
