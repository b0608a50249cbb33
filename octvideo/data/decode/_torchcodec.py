"""torchcodec: optional, `pip install torchcodec`; needs FFmpeg's shared libraries at run time.

On the CPU its frames equal PyAV's; on CUDA it decodes with NVDEC, whose colours differ slightly. Only
`seek_mode="exact"`: "approximate" returns other frames for variable rates and edit lists.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from octvideo.data.decode._base import VideoDecodeError, VideoReader
from octvideo.data.decode._frames import Frames, at_a_time
from octvideo.data.decode._packets import PacketTable
from octvideo.data.decode._pyav import PyAVReader


def doubt(packets: PacketTable, device: torch.device, same_colours: bool) -> str | None:
    """Why torchcodec can't be trusted with a file, or None: it returns other frames for AVI and MPEG-TS."""
    if packets.containers & {"avi", "mpeg", "mpegts"}:
        return f"the container is {'/'.join(sorted(packets.containers))}"
    if packets.frame_pts is None:
        return "its time stamps do not tell its frames"
    if not packets.keys_hold:
        return "it has key frames that do not start anew"
    return None


def no_cuda() -> str | None:
    """Why torchcodec does not decode on a GPU here, or None."""
    try:
        ctypes.CDLL("libnvcuvid.so.1")
    except OSError:
        return "the driver's NVDEC library, libnvcuvid.so.1, is not there"
    return None


class TorchcodecReader(VideoReader):
    """Reads a video with torchcodec, on the CPU in one thread, or on a CUDA device.

    Args:
        path: absolute path.
        packets: the file's packet table; its times are taken, so that all backends count alike.
        device: "cpu" or a CUDA device, where the frames stay.
        on_cpu_fallback: called with the reason when NVDEC can't decode the file and FFmpeg does instead.
    """

    decoder = "torchcodec"

    def __init__(
        self,
        path: str,
        packets: PacketTable,
        device: torch.device,
        on_cpu_fallback: Callable[[str], object] | None = None,
    ) -> None:
        from torchcodec.decoders import VideoDecoder

        self.path = path
        self.device = device
        self._on_cpu_fallback = on_cpu_fallback
        self._frame_bytes = packets.frame_bytes
        try:
            self._decoder: Any = VideoDecoder(
                path, dimension_order="NHWC", num_ffmpeg_threads=1, device=device, seek_mode="exact"
            )
            about = self._decoder.metadata
        except (RuntimeError, ValueError, TypeError) as error:
            raise VideoDecodeError(path, _plain(error)) from None
        self._take_times(packets, int(about.num_frames or 0), float(about.average_fps or 0))

    @property
    def rotation(self) -> int:
        with PyAVReader(self.path) as reader:
            return reader.rotation

    def _decode(self, indices: np.ndarray, frames: Frames) -> None:
        step = at_a_time(len(indices), self._frame_bytes, frames.scale, self.device)
        for first in range(0, len(indices), step):
            try:
                some = self._decoder.get_frames_at(indices[first : first + step].tolist()).data
            except (RuntimeError, IndexError, ValueError) as error:
                raise VideoDecodeError(self.path, _plain(error)) from None
            frames.put_run(first, some)
        if self._on_cpu_fallback is not None and self._decoder.cpu_fallback:
            self._on_cpu_fallback(" ".join(str(self._decoder.cpu_fallback).split()))
            self._on_cpu_fallback = None

    def close(self) -> None:
        self._decoder = None


def _plain(error: Exception) -> str:
    return f"torchcodec fails: {(str(error).strip().splitlines() or ['no reason given'])[0]}"
