"""How the kernels' work is cut, and which way was the fastest on this device: looked for once, and kept."""

import json
import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from octvideo.engines.native.cache import cache_folder
from octvideo.files import replacing

_log = logging.getLogger(__name__)


class Tile(NamedTuple):
    """Pixels and output channels of a program, input channels of a step; warps, and steps that are loaded ahead."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


# Registers hold a tile's sums, 128 x 128 of them at 8 warps; wide maps want many pixels, deep ones many channels.
SUMS = (
    Tile(128, 64, 32, 4, 4),
    Tile(128, 128, 32, 8, 4),
    Tile(64, 64, 64, 4, 4),
    Tile(256, 64, 32, 8, 3),
)
# Rows are output channels here, columns input channels, and a step is some pixels. What is averaged as it is read takes
# four loads a number, whose places are in registers for every step that is loaded ahead: more than these would spill.
GRADIENTS = (Tile(64, 64, 64, 8, 3), Tile(128, 64, 32, 8, 3), Tile(64, 64, 32, 4, 3))


# Whether tiles may be tried at all; where not, the first of a list is taken for what is not known.
searches = True


def may_search(x: Tensor) -> bool:
    """Whether kernels that read this may be run to be timed: on a GPU, and not into a CUDA graph."""
    return searches and x.is_cuda and not torch.cuda.is_current_stream_capturing()


def choose(key: str, tiles: Sequence[Tile], run: Callable[[Tile], object], *, search: bool) -> Tile:
    """The tile that was the fastest for a problem, found by running each once it is asked for.

    Args:
        key: of the problem.
        tiles: to choose from; the first is taken where nothing is known.
        run: does the work, which may be done several times.
        search: whether they may be run now.
    """
    known = _known(_device())
    if key not in known and search:
        seconds = {number: _milliseconds(run, tile) for number, tile in enumerate(tiles)}
        known[key] = min(seconds, key=lambda number: seconds[number])
        _keep(_device(), known)
    number = known.get(key, 0)
    return tiles[number if number < len(tiles) else 0]


def known() -> dict[str, int]:
    """What was the fastest on this device, as numbers in the lists, by problem."""
    return dict(_known(_device()))


def _milliseconds(run: Callable[[Tile], object], tile: Tile) -> float:
    """The median of some runs; infinite for a tile that the device has no room for."""
    from triton.runtime.errors import OutOfResources

    try:
        run(tile)  # compiles it
    except OutOfResources:
        return float("inf")
    times = []
    for _ in range(5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(tile)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _file(device: str) -> Path:
    import triton

    name = "".join(letter if letter.isalnum() else "_" for letter in f"{device} {triton.__version__}")
    return cache_folder() / f"tiles_{name}.json"


@cache
def _known(device: str) -> dict[str, int]:
    """Numbers of tiles by problem; what a file has that is no such number is passed over."""
    try:
        found = json.loads(_file(device).read_text())
    except (OSError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {key: number for key, number in pairs if type(number) is int and number >= 0}


def _keep(device: str, known: dict[str, int]) -> None:
    file = _file(device)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(file, shared=True) as new:
            new.write_text(json.dumps(known, indent=0))
    except OSError as error:
        _log.warning("the fastest tiles cannot be kept in %s: %s", file, error)
