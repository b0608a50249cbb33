"""open_video: which backend reads which file, on which device."""

import logging
import os
from collections import Counter
from collections.abc import Callable
from functools import partial

import torch

from octvideo.data.decode._base import VideoDecodeError, VideoReader, absolute
from octvideo.data.decode._pyav import PyAVReader
from octvideo.data.decode._table import DECODERS, TABLE, cpu_failure, cuda_failure
from octvideo.errors import InputError

# Of H.264 the PyAV reader decodes only the pictures that are needed, in half the time, and tells damaged ones,
# which decord conceals.
_BETTER_WITH_PYAV = frozenset({"h264"})

_log = logging.getLogger(__name__)

# How many files another decoder than the wanted one has read in this process, by reason.
fallbacks: Counter[str] = Counter()


def open_video(
    path: str | os.PathLike[str], *, decoder: str = "auto", device: str | torch.device = "cpu"
) -> VideoReader:
    """Opens a video file for random access by frame index.

    Args:
        path: a local file.
        decoder: "decord", "torchcodec", "pyav", or "auto". On the CPU, auto is decord, but PyAV for H.264, and
            for a file that decord can't read or gets wrong. On a GPU, auto is decord where its CUDA build is
            installed, else torchcodec, and PyAV on the CPU for a file that these can't read there. Each reason
            for a fall-back is logged once a process and counted in `fallbacks`.
        device: where frames are decoded and stay, "cpu", "cuda" or "cuda:N".

    Raises:
        ValueError: an unknown decoder or device, or one that does not work here.
        VideoDecodeError: the file can't be read, or the decoder asked for is known to get it wrong.
    """
    if decoder not in DECODERS:
        raise InputError(f"decoder is {decoder!r}, allowed are {', '.join(DECODERS)}")
    where = _device(device)
    path = absolute(os.fspath(path))
    usable = _usable(decoder, where)
    exact = PyAVReader(path)
    if decoder == "pyav" or (
        decoder == "auto" and where.type == "cpu" and exact.packets.codec in _BETTER_WITH_PYAV
    ):
        return exact
    doubts: list[str] = []
    for name in usable:
        doubt = TABLE[name].doubt(exact.packets, where, decoder == "auto")
        if doubt is None:
            tell = _told(name, path, where, decoder == "auto")
            try:
                reader = TABLE[name].reader(path, exact.packets, where, tell)
            except VideoDecodeError as error:
                doubt = error.reason
            else:
                exact.close()
                return reader
        doubts.append(doubt)
    if decoder != "auto":
        exact.close()
        raise VideoDecodeError(path, f"{doubts[0]}; decoder 'auto' reads it another way")
    wanted = " or ".join(usable) or "decord"
    doubt = doubts[0] if doubts else f"decord {cpu_failure('decord')}"
    return _fall_back(exact, wanted, where, doubt)


def _device(device: str | torch.device) -> torch.device:
    try:
        where = torch.device(device)
    except RuntimeError:
        where = None
    if where is None or where.type not in ("cpu", "cuda"):
        raise InputError(f"device is {str(device)!r}, allowed are cpu, cuda and cuda:N")
    return where


def _usable(decoder: str, device: torch.device) -> list[str]:
    """The backends to try in turn, apart from PyAV."""
    failure = cpu_failure if device.type == "cpu" else cuda_failure
    if decoder != "auto":
        reason = failure(decoder)
        if reason is not None:
            raise InputError(f"decoder is {decoder!r}, which does not work on {device}: {reason}")
        return [decoder]
    names = ["decord"] if device.type == "cpu" else ["decord", "torchcodec"]
    usable = [name for name in names if failure(name) is None]
    if not usable and device.type == "cuda":
        reasons = "; ".join(f"{name}: {failure(name)}" for name in names)
        raise InputError(f"device is {str(device)!r}, but no decoder works there: {reasons}")
    return usable


def _told(
    name: str, path: str, device: torch.device, may_fall_back: bool
) -> Callable[[str], VideoReader | None] | None:
    """What a reader that cannot go on tells the reason to: it gives the one that takes over."""
    if name == "torchcodec":  # which goes on by itself, and is counted
        return partial(_count, path, "torchcodec on the CPU", "NVDEC") if device.type == "cuda" else None
    return partial(_take_over, path, device) if may_fall_back else None


def _take_over(path: str, device: torch.device, doubt: str) -> VideoReader:
    return _fall_back(PyAVReader(path), "decord", device, doubt)


def _fall_back(exact: PyAVReader, wanted: str, device: torch.device, doubt: str) -> VideoReader:
    on_cpu = device.type == "cuda"
    _count(
        exact.path,
        "PyAV on the CPU" if on_cpu else "PyAV",
        f"{wanted} on {device}" if on_cpu else wanted,
        doubt,
    )
    exact.device = device
    return exact


def _count(path: str, taken: str, wanted: str, doubt: str) -> None:
    reason = f"decoding with {taken} instead of {wanted}, since {doubt}"
    fallbacks[reason] += 1
    if fallbacks[reason] == 1:
        _log.warning("%s (the first such file: %s)", reason, path)
