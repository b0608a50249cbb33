"""decord: the default backend. Its wheel bundles FFmpeg 4.1 and decodes on the CPU.

Fast and exact on what Kinetics copies are made of; `distrust` says where it is not. Only `get_batch` is
used: decord's seeking lands on key frames.
"""

import re
from collections.abc import Callable

import numpy as np
import torch

from octvideo.data.decode._base import VideoDecodeError, VideoReader
from octvideo.data.decode._packets import PacketTable
from octvideo.data.decode._pyav import PyAVReader

_CONTAINERS = frozenset({"mp4", "mov", "matroska", "webm"})
_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "mpeg4"})


def distrust(packets: PacketTable) -> str | None:
    """Why decord 0.6.0 can't be trusted with a file, or None.

    Each rule is a measured fault: it hangs on MPEG-TS, returns other frames for XviD in AVI, for edit lists
    and near the key frames of open GOPs, has no AV1, and converts more than 8 bits with other colours.
    """
    if not packets.containers & _CONTAINERS:
        return f"the container is {'/'.join(sorted(packets.containers))}"
    if packets.codec not in _CODECS:
        return f"the codec is {packets.codec}"
    if packets.bits > 8:
        return f"it has {packets.bits} bits a colour"
    if not packets.shown.all():
        return "it has an edit list or hidden frames"
    if packets.frame_pts is None:
        return "its time stamps do not tell its frames"
    if packets.has_open_gop:
        return "it has open GOPs"
    return None


class DecordReader(VideoReader):
    """Reads a video with decord, on the CPU, in one thread.

    Args:
        path: absolute path.
        packets: the file's packet table; its times are taken, so that all backends count alike.
        on_failure: called with the reason when frames can't be decoded; gives the reader that takes over.
            None raises instead.
    """

    decoder = "decord"

    def __init__(
        self, path: str, packets: PacketTable, on_failure: Callable[[str], VideoReader] | None = None
    ) -> None:
        import decord  # after torch, and in the process that decodes

        self.path = path
        self._on_failure = on_failure
        self._other: VideoReader | None = None
        decord.logging.set_level(decord.logging.FATAL)
        frame_pts = packets.frame_pts
        if frame_pts is None or "mpegts" in packets.containers:
            raise VideoDecodeError(path, f"decord can't read it: {distrust(packets)}")
        try:
            # fault_tol: raise rather than fill a frame that fails with its neighbour.
            self._reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1, fault_tol=1)
            self.num_frames = len(self._reader)
        except (RuntimeError, decord.DECORDError) as error:
            raise VideoDecodeError(path, _plain(error)) from None
        if self.num_frames != len(frame_pts):
            raise VideoDecodeError(
                path, f"decord counts {self.num_frames} frames, the container has {len(frame_pts)}"
            )
        self.pts_seconds = frame_pts * packets.time_base
        self.fps = packets.average_fps or float(self._reader.get_avg_fps())

    @property
    def rotation(self) -> int:
        # decord turns the frames and does not tell.
        with PyAVReader(self.path) as reader:
            return reader.rotation

    def _decode(self, indices: np.ndarray) -> torch.Tensor:
        import decord

        if self._other is not None:
            return self._other._decode(indices)
        try:
            batch = self._reader.get_batch(indices.tolist())
        except (RuntimeError, IndexError, decord.DECORDError, decord.DECORDLimitReachedError) as error:
            if self._on_failure is None:
                raise VideoDecodeError(self.path, _plain(error)) from None
            self._reader = None
            self._other = self._on_failure(_plain(error))
            return self._other._decode(indices)
        # Not `set_bridge`: that is a setting of the thread. This shares the memory.
        return decord.bridge.to_torch(batch)

    def close(self) -> None:
        self._reader = None
        if self._other is not None:
            self._other.close()


def _plain(error: Exception) -> str:
    """What is wrong, without the C++ place and stack trace of decord's messages."""
    text = (str(error).strip().splitlines() or ["no reason given"])[0]
    text = re.sub(r"^.*?\.(cc|h):\d+: (Check failed: .*?\) )?", "", text)
    return f"decord fails: {text or 'no reason given'}"
