"""A parser of command lines whose complaints are raised: one line and an exit code, like any other mistake."""

import argparse
from typing import NoReturn

from octvideo.errors import InputError


class Parser(argparse.ArgumentParser):
    """argparse's, but for what it does with a mistake: it prints its usage, and exits."""

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message} ({self.prog} --help lists what is allowed)")
