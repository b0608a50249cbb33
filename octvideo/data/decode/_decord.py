"""decord: the default backend. Its wheel bundles FFmpeg 4.1 and decodes on the CPU; a CUDA build is one's own.

Fast and exact on what Kinetics copies are made of; `doubt` says where it is not. Only `get_batch` is
used: decord's seeking lands on key frames.
"""

import logging
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from octvideo.data.decode._base import VideoDecodeError, VideoReader
from octvideo.data.decode._frames import Frames, at_a_time
from octvideo.data.decode._packets import PacketTable
from octvideo.data.decode._pyav import PyAVReader

_CONTAINERS = frozenset({"mp4", "mov", "matroska", "webm"})
_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "mpeg4"})
_CUDA_CODECS = frozenset({"h264", "hevc", "vp9", "mpeg4"})


_log = logging.getLogger(__name__)


def doubt(packets: PacketTable, device: torch.device, same_colours: bool) -> str | None:
    """Why decord 0.6.0 can't be trusted with a file, or None.

    Each rule is a measured fault: it hangs on MPEG-TS, returns other frames for XviD in AVI, for edit lists
    and near the key frames of open GOPs or of intra refresh, has no AV1, and converts more than 8 bits with
    other colours, which counts only if `same_colours`.
    """
    if not packets.containers & _CONTAINERS:
        return f"the container is {'/'.join(sorted(packets.containers))}"
    if packets.codec not in (_CODECS if device.type == "cpu" else _CUDA_CODECS):
        return f"the codec is {packets.codec}"
    if packets.bits > 8 and (same_colours or device.type == "cuda"):
        return f"it has {packets.bits} bits a colour"
    if not packets.shown.all():
        return "it has an edit list or hidden frames"
    if packets.frame_pts is None:
        return "its time stamps do not tell its frames"
    if packets.has_open_gop:
        return "it has open GOPs"
    if not packets.keys_hold:
        return "it has key frames that do not start anew"
    return None


def no_cuda() -> str | None:
    """Why decord does not decode on a GPU here, or None."""
    import decord

    if decord.get_global_func("device_api.gpu", allow_missing=True) is None:
        return "this build has no CUDA (the wheel of the package index has none)"
    return None


@cache
def _tell_of_colours(bits: int) -> None:
    _log.warning("decord gives videos of %d bits a colour other colours than PyAV and torchcodec do", bits)


class DecordReader(VideoReader):
    """Reads a video with decord, on the CPU in one thread, or on a CUDA device.

    Args:
        path: absolute path.
        packets: the file's packet table; its times are taken, so that all backends count alike.
        device: "cpu" or a CUDA device, where the frames stay. Colours on CUDA are always those of BT.601,
            limited range.
        on_failure: called with the reason when frames can't be decoded; gives the reader that takes over.
            None raises instead.
    """

    decoder = "decord"

    def __init__(
        self,
        path: str,
        packets: PacketTable,
        device: torch.device,
        on_failure: Callable[[str], VideoReader | None] | None = None,
    ) -> None:
        if packets.bits > 8:
            _tell_of_colours(packets.bits)
        self.path = path
        self.device = device
        self._on_failure = on_failure
        self._frame_bytes = packets.frame_bytes
        self._other: VideoReader | None = None
        self._reader = self._open()
        try:
            self._take_times(packets, len(self._reader), float(self._reader.get_avg_fps()))
        except VideoDecodeError:
            # Not left to the error's traceback: a reader that a forked worker inherits hangs it.
            self._reader = None
            raise

    def _open(self) -> Any:
        import decord  # after torch, and in the process that decodes

        decord.logging.set_level(decord.logging.FATAL)
        context = decord.cpu(0) if self.device.type == "cpu" else decord.gpu(self.device.index or 0)
        try:
            # fault_tol: raise rather than fill a frame that fails with its neighbour.
            return decord.VideoReader(self.path, ctx=context, num_threads=1, fault_tol=1)
        except (RuntimeError, decord.DECORDError) as error:
            raise VideoDecodeError(self.path, _plain(error)) from None

    @property
    def rotation(self) -> int:
        # decord does not tell; it turns the frames on the CPU and leaves them on CUDA.
        with PyAVReader(self.path) as reader:
            return reader.rotation

    def _decode(self, indices: np.ndarray, frames: Frames) -> None:
        if self._other is not None:
            self._other._decode(indices, frames)
            return
        step = at_a_time(len(indices), self._frame_bytes, frames.scale, self.device)
        before: np.ndarray | None = None
        for first in range(0, len(indices), step):
            wanted = indices[first : first + step]
            try:
                some = self._batch(wanted)
                if self.device.type == "cpu":
                    self._check_repeats(wanted, some.numpy(), before)
                    before = some[-1].numpy().copy()
            except VideoDecodeError as error:
                if self._on_failure is None:
                    raise
                self._reader = None
                self._other = self._on_failure(error.reason)
                assert self._other is not None
                self._other._decode(indices, frames)
                return
            frames.put_run(first, some)

    def _batch(self, indices: np.ndarray) -> torch.Tensor:
        import decord

        try:
            batch = self._reader.get_batch(indices.tolist())
        except (RuntimeError, IndexError, decord.DECORDError, decord.DECORDLimitReachedError) as error:
            raise VideoDecodeError(self.path, _plain(error)) from None
        # Not `set_bridge`: that is a setting of the thread, though importing pytorchvideo.data makes it. This
        # shares the memory.
        frames = batch if isinstance(batch, torch.Tensor) else decord.bridge.to_torch(batch)
        return self._on_cuda(frames) if self.device.type == "cuda" else frames

    def _check_repeats(self, indices: np.ndarray, pixels: np.ndarray, before: np.ndarray | None) -> None:
        """Raises VideoDecodeError if a frame was filled in with its neighbour: decord does that once a file.

        Equal neighbours that PyAV has too are a still scene.

        Args:
            before: the frame before the first one, where there is one.
        """
        middle = pixels.shape[1] // 2
        equal = [
            at
            for at, (last, this) in enumerate(zip((before, *pixels[:-1]), pixels, strict=True))
            # Mostly one row tells. Not in torch, whose threads cost more than the comparison.
            if last is not None and np.array_equal(last[middle], this[middle]) and np.array_equal(last, this)
        ]
        if not equal:
            return
        try:
            with PyAVReader(self.path) as exact:
                still = np.array_equal(exact.frames_at(indices[equal]).numpy(), pixels[equal])
        except VideoDecodeError:
            still = False
        if not still:
            raise VideoDecodeError(self.path, "decord repeats frames")

    def _on_cuda(self, frames: torch.Tensor) -> torch.Tensor:
        """The frames in memory of torch's, upright; readies the reader for the next call."""
        # decord's last copy runs on the default stream, and its reader can't go on once it met the end.
        torch.cuda.default_stream(self.device).synchronize()
        turns = self.rotation // 90
        frames = torch.rot90(frames, -turns, dims=(1, 2)).contiguous() if turns else frames.clone()
        self._reader = self._open()
        return frames

    def close(self) -> None:
        self._reader = None
        if self._other is not None:
            self._other.close()


def _plain(error: Exception) -> str:
    """What is wrong, without the C++ place and stack trace of decord's messages."""
    text = (str(error).strip().splitlines() or ["no reason given"])[0]
    text = re.sub(r"^.*?\.(cc|h):\d+: (Check failed: .*?\) )?", "", text)
    return f"decord fails: {text or 'no reason given'}"
