"""Files replaced as a whole: a full disk or an interruption leaves the old file, and no half of a new one."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def replacing(path: str | Path, *, shared: bool = False) -> Iterator[Path]:
    """Gives a hidden name beside `path`, of its ending, to write to, and renames it at the end.

    Args:
        path: the file; its folder is made.
        shared: whether other processes may write it at the same time, so that each needs a name of its own. What a
            killed one leaves stays then; else the next one writes over it.

    Raises:
        OSError: naming `path`, for what writing met; a full disk's error names no file of itself.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f".{os.getpid()}" if shared else ""
    temporary = path.with_name(f".{path.stem}{own}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(path: str | Path, write: Callable[[TextIO], object]) -> None:
    """Replaces a text file by what `write` puts into the open one; names keep their bytes, UTF-8 or not."""
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        write(file)
