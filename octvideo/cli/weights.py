"""Whether a file of weights is there; of those that configurations and guides name, how to get it."""

import re
from pathlib import Path

from octvideo.cli.errors import UsageError

# Files that configurations name and that are somebody else's to give.
_SOURCES = {
    r"[A-Z0-9_x]+_R\d+\w*\.pyth|X3D_\w+\.pyth": "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/",
    r"resnet\d+-[0-9a-f]{8}\.pth": "https://download.pytorch.org/models/",
}


def no_checkpoint(command: str) -> UsageError:
    """What a command says that scores weights, and was given none."""
    return UsageError(
        f"octvideo {command} needs a checkpoint: --ckpt_path FILE, or best, or last, or a name of octvideo weights"
    )


def check_file(name: str, what: str) -> None:
    """Raises FileNotFoundError for a file that is not there.

    Args:
        name: of the file.
        what: it is: "checkpoint".
    """
    file = Path(name).expanduser()
    if file.is_file():
        return
    for pattern, address in _SOURCES.items():
        if re.fullmatch(pattern, file.name):
            raise FileNotFoundError(
                f"no {what} file {file.absolute()}; to get it: curl --create-dirs -o {name} {address}{file.name}"
            )
    raise FileNotFoundError(f"no {what} file {file.absolute()}")
