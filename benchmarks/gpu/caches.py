"""What torch.compile has made on this machine, saved in pieces that come home: on another day it is there already."""

import io
import os
import tarfile
from pathlib import Path
from typing import Any

from benchmarks.gpu.kit import CACHES
from benchmarks.gpu.lab import Lab

PIECE_BYTES, MAX_PIECES = 15 * 2**20, 4  # eight files of 16 MiB come home, of which three are others


class Pieces(io.RawIOBase):
    """A file that goes on in another one where a piece is full.

    Raises:
        OverflowError: more than `MAX_PIECES` would be needed.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.sizes = file, [0]

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        data = bytes(data)
        if self.sizes[-1] + len(data) > PIECE_BYTES:
            self.sizes.append(0)
        if len(self.sizes) > MAX_PIECES:
            raise OverflowError(f"the caches are more than {MAX_PIECES} pieces of {PIECE_BYTES >> 20} MiB")
        with self.file.with_name(f"{self.file.name}.{len(self.sizes) - 1}").open("ab") as piece:
            piece.write(data)
        self.sizes[-1] += len(data)
        return len(data)


def save(lab: Lab) -> None:
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    _remove(lab)
    pieces = Pieces(lab.out / CACHES)
    try:
        if folder.is_dir():
            with tarfile.open(fileobj=pieces, mode="w|gz") as archive:
                archive.add(folder, arcname=".")
    except OverflowError:
        _remove(lab)  # half an archive is of no use
        raise
    lab.note("caches", pieces=len(pieces.sizes), mb=sum(pieces.sizes) / 2**20)


def _remove(lab: Lab) -> None:
    for piece in lab.out.glob(f"{CACHES}.*"):
        piece.unlink()


PARTS = {"save": save}
