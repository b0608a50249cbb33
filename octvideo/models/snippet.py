"""Preprocessing for those who run an exported network without octvideo: `standalone.py` with the card in it.

The file is `octvideo/models/standalone.py`, which imports numpy and PyAV alone; nothing in octvideo imports it.
"""

import pprint
from importlib.resources import files
from pathlib import Path

from octvideo.card import Card
from octvideo.errors import InputError
from octvideo.files import replace_file

_PLACE = "CARD: dict = {}  # of the network\n"
# What decides on frames, pixels and scores, and what they are called.
_USED: tuple[str, ...] = (
    "num_frames",
    "frame_stride",
    "fps",
    "frame_times",
    "test_short_side",
    "test_crop",
    "num_clips",
    "num_crops",
)
_USED += ("mean", "std", "multi_label", "class_names")


def check_snippet(file: str | Path) -> Path:
    """The absolute path of a snippet that may be written; InputError for another name, or a file that is there."""
    path = Path(file).expanduser().absolute()
    if path.suffix != ".py":
        raise InputError(f"{path}: the name must end in .py")
    if path.exists():
        raise InputError(f"{path}: is there already, and is not written over")
    return path


def write_snippet(file: str | Path, card: Card) -> None:
    """Writes a Python file that makes the views of a card's network, and their scores, of numpy and PyAV alone.

    Args:
        file: ends in `.py`, and is not there yet.
        card: of the network.

    Raises:
        InputError: another name, or a file that is there.
        OSError: it cannot be written.
    """
    path = check_snippet(file)
    source = files("octvideo.models").joinpath("standalone.py").read_text(encoding="utf-8")
    before, after = source.split(_PLACE)
    values = {key: value for key, value in card.to_dict().items() if key in _USED}
    title = f"# {card.name}, alpha {card.alpha:g}; written by octvideo {card.version}\n"
    written = f"CARD = {pprint.pformat(values, width=110, sort_dicts=False)}\n"
    replace_file(path, lambda out: out.write(title + before + written + after))
