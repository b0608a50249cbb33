"""Kinetics' class names, a file each, in the order of the published heads: alphabetical.

Sources: torchvision's weights (400) and mmaction2's tools/data/kinetics/label_map_k{600,700}.txt.
"""

import os
from pathlib import Path

KNOWN = ("kinetics400", "kinetics600", "kinetics700")


def class_list_file(name: str | os.PathLike[str]) -> Path:
    """The absolute path of a class list: of a file, or, where there is none of that name, of one that is known."""
    file = Path(name).expanduser().absolute()
    if str(name) in KNOWN and not file.exists():
        return Path(__file__).with_name(f"{name}.txt")
    return file
