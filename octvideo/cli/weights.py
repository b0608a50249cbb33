"""Whether a file of weights is there; of those that configurations and guides name, how to get it."""

from pathlib import Path

from octvideo.cli.errors import UsageError
from octvideo.cli.models_table import model_names


def no_checkpoint(command: str) -> UsageError:
    """What a command says that scores weights, and was given none."""
    return UsageError(
        f"octvideo {command} needs a checkpoint: --ckpt_path FILE, or best, or last, or a name of octvideo weights"
    )


def check_weights(source: str) -> None:
    """A file, which has to be there; or a name, whose weights are looked for where they are opened."""
    if source not in model_names():
        check_file(source, "checkpoint")


def check_file(name: str, what: str) -> None:
    """Raises FileNotFoundError for a file that is not there.

    Args:
        name: of the file.
        what: it is: "checkpoint".
    """
    file = Path(name).expanduser()
    if file.is_file():
        return
    where = _address(file)
    hint = f"; to get it: curl --create-dirs -o {name} {where}" if where else ""
    raise FileNotFoundError(f"no {what} file {file.absolute()}{hint}")


def _address(file: Path) -> str | None:
    """Where somebody else's file lies. Their addresses are their packages', which take seconds to import."""
    if file.suffix not in (".pyth", ".pth"):
        return None
    from octvideo.models.pretrained import addresses

    return addresses().get(file.name)
