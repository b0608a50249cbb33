"""Reading checkpoint files, safely: nothing in a file is ever executed."""

from pathlib import Path
from typing import Any

import torch


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or does not fit; its text is one line that names the file."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is not a checkpoint, or needs pickled code to load.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint file {file}")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch.load has no error of its own: pickle, zip, key and runtime errors
        text = str(error)
        if "Weights only load failed" in text and "Unsupported" in text:
            raise CheckpointError(
                f"{file}: refused, it holds pickled Python objects, which loading would have to execute"
            ) from error
        raise CheckpointError(f"{file}: not a checkpoint that torch can read, or a truncated one") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: holds a {type(content).__name__}, expected a dictionary of tensors")
    return content
