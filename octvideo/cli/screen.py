"""How much a command says: everything; with `--quiet` its result alone; with `--json` that as JSON, for programs.

Errors are one line on the standard error, whichever it is.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console

_asked: set[str] = set()
_OPTIONS = ("--quiet", "--json")


def listen(args: Sequence[str]) -> list[str]:
    """Takes `--quiet` and `--json` out of a command line, and remembers them."""
    _asked.clear()
    _asked.update(set(args) & set(_OPTIONS))
    return [arg for arg in args if arg not in _OPTIONS]


def wants_json() -> bool:
    """Whether the result is to be JSON, and the only thing on the standard output."""
    return "--json" in _asked


def is_quiet() -> bool:
    """Whether nothing but results is to be shown."""
    return bool(_asked)


def notes() -> Console:
    """Where a command says what it does on the way to its result."""
    return Console(quiet=is_quiet())


def results() -> Console:
    """Where tables and other results for people go."""
    return Console(quiet=wants_json())


def write_json(result: Any) -> None:
    """The result for a program: one JSON document."""
    json.dump(result, sys.stdout, indent=1)
    print()
