"""The decoders, each a row: its library, its reader, its doubts about a file, and why it does not work on a device.

Nothing here needs a video file or touches a GPU's memory: `octvideo doctor` asks, too.
"""

import importlib
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch  # decord must be imported after it

from octvideo.data.decode import _decord, _torchcodec
from octvideo.data.decode._base import VideoReader
from octvideo.data.decode._decord import DecordReader
from octvideo.data.decode._packets import PacketTable
from octvideo.data.decode._pyav import PyAVReader
from octvideo.data.decode._torchcodec import TorchcodecReader
from octvideo.errors import InputError


class Decoder(NamedTuple):
    """One of them.

    Attributes:
        package: its library, as it is installed.
        module: what of it has to be there to be imported.
        reader: opens a file, given its absolute path, its packet table, the device, and what is told of the reason when
            it cannot go on, if anybody is.
        doubt: why it can't be trusted with a file of this packet table on this device, or None; the last argument is
            whether colours have to be PyAV's.
        no_cuda: why it does not decode on a CUDA GPU here, though it works on the CPU, or None.
        hint: what it needs beside Python packages.
    """

    package: str
    module: str
    reader: Callable[
        [str, PacketTable, torch.device, Callable[[str], VideoReader | None] | None], VideoReader
    ]
    doubt: Callable[[PacketTable, torch.device, bool], str | None]
    no_cuda: Callable[[], str | None]
    hint: str = ""


TABLE = {
    "decord": Decoder("decord", "decord", DecordReader, _decord.doubt, _decord.no_cuda),
    "torchcodec": Decoder(
        "torchcodec",
        "torchcodec.decoders",
        TorchcodecReader,
        _torchcodec.doubt,
        _torchcodec.no_cuda,
        "; it needs FFmpeg's shared libraries, 4 to 9",
    ),
    "pyav": Decoder(
        "av",
        "av",
        lambda path, packets, device, tell: PyAVReader(path),
        lambda packets, device, same_colours: None,  # what the others are measured by
        lambda: "decodes on the CPU only",
    ),
}
DECODERS = ("auto", *TABLE)


@cache
def cpu_failure(decoder: str) -> str | None:
    """Why a decoder ("decord", "torchcodec", "pyav") does not work on the CPU here, or None if it does."""
    if decoder not in TABLE:
        raise InputError(f"decoder is {decoder!r}, allowed are {', '.join(TABLE)}")
    try:
        importlib.import_module(TABLE[decoder].module)
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except (ImportError, OSError, RuntimeError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"can't be loaded ({line}){TABLE[decoder].hint}"
    return None


@cache
def cuda_failure(decoder: str) -> str | None:
    """Why a decoder does not work on a CUDA GPU here, or None if it should."""
    failure = cpu_failure(decoder) or TABLE[decoder].no_cuda()
    if failure is None and not torch.cuda.is_available():
        return "torch finds no CUDA GPU"
    return failure
