"""Decoding: the only place that knows a decoder. Everything above it sees frames and indices.

with open_video("clip.mp4") as video:
    frames = video.frames_at([0, 8, 16])  # uint8 (3, H, W, 3)
"""

import logging
import os
from functools import partial

import torch  # noqa: F401  decord must be imported after torch

from octvideo.data.decode._base import VideoDecodeError, VideoReader, absolute
from octvideo.data.decode._decord import DecordReader, distrust
from octvideo.data.decode._pyav import PyAVReader

__all__ = ["DECODERS", "VideoDecodeError", "VideoReader", "open_video"]

DECODERS = ("auto", "decord", "pyav")

_log = logging.getLogger(__name__)
_named: set[str] = set()


def open_video(path: str | os.PathLike[str], *, decoder: str = "auto", device: str = "cpu") -> VideoReader:
    """Opens a video file for random access by frame index.

    Args:
        path: a local file.
        decoder: "decord", "pyav", or "auto": decord, and PyAV for a file that decord can't read or gets
            wrong; each reason for that is logged once a process.
        device: where frames are decoded and left, "cpu".

    Raises:
        ValueError: an unknown decoder or device.
        VideoDecodeError: the file can't be read.
    """
    if decoder not in DECODERS:
        raise ValueError(f"decoder is {decoder!r}, allowed are {', '.join(DECODERS)}")
    if device != "cpu":
        raise ValueError(f"device is {device!r}, allowed is cpu")
    path = absolute(os.fspath(path))
    if not os.path.exists(path):
        raise VideoDecodeError(path, "no such file")
    if not os.path.isfile(path):
        raise VideoDecodeError(path, "is not a file")

    exact = PyAVReader(path)
    if decoder == "pyav":
        return exact
    if decoder == "decord":
        with exact:
            try:
                return DecordReader(path, exact.packets)
            except ImportError as error:
                raise ValueError(f"decoder is 'decord', which can't be imported ({error})") from None
    doubt = distrust(exact.packets)
    if doubt is None:
        try:
            reader = DecordReader(path, exact.packets, partial(_take_over, path))
        except (ImportError, VideoDecodeError) as error:
            doubt = getattr(error, "reason", None) or f"decord can't be imported ({error})"
        else:
            exact.close()
            return reader
    _name_once(doubt, path)
    return exact


def _take_over(path: str, doubt: str) -> VideoReader:
    _name_once(doubt, path)
    return PyAVReader(path)


def _name_once(doubt: str, path: str) -> None:
    if doubt not in _named:
        _named.add(doubt)
        _log.warning("decoding with PyAV instead of decord, since %s (the first such file: %s)", doubt, path)
