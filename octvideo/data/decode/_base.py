"""What every decoder backend shares: the reader's interface, its error, and the checks of an index list.

Shapes: N frames, H height, W width; frames are RGB `uint8 (N, H, W, 3)`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from octvideo.data.decode._frames import Frames, Scale
from octvideo.errors import OctvideoError

if TYPE_CHECKING:
    from octvideo.data.decode._packets import PacketTable


class VideoDecodeError(OctvideoError):
    """A video that can't be opened or a frame that can't be decoded.

    Made as `VideoDecodeError(path, reason)`. It also takes one ready message, because that is how a
    DataLoader makes it again in the main process.

    Attributes:
        path: absolute path of the file, empty if made from a message.
        reason: what is wrong, one line.
    """

    def __init__(self, path: str | Path, reason: str | None = None) -> None:
        self.path = "" if reason is None else absolute(path)
        super().__init__(str(path) if reason is None else f"{self.path}: {' '.join(str(reason).split())}")
        self.reason = str(self).removeprefix(f"{self.path}: ") if self.path else str(self)


def absolute(path: str | Path) -> str:
    """The absolute path as text, symbolic links kept: people look for the name that they gave."""
    return str(Path(path).expanduser().absolute())


class VideoReader(ABC):
    """An open video, a context manager. Not thread-safe, and neither pickled nor kept over a fork.

    Attributes:
        path: absolute path.
        decoder: name of the backend, "decord", "pyav" or "torchcodec".
        num_frames: number of frames that a sequential decode gives, at least 1.
        fps: average frames a second.
        pts_seconds: `float64 (num_frames,)`, the presentation time of each frame, increasing.
        device: where its frames are, whether they are decoded there or on the CPU.
    """

    path: str
    decoder: str
    num_frames: int
    fps: float
    pts_seconds: np.ndarray
    device: torch.device = torch.device("cpu")

    @property
    @abstractmethod
    def rotation(self) -> int:
        """Degrees (0, 90, 180 or 270) by which stored frames are turned clockwise; `frames_at` has done it."""

    def frames_at(self, indices: Sequence[int] | np.ndarray, scale: Scale | None = None) -> torch.Tensor:
        """Decodes frames by index, in any order and with repeats, each distinct one once.

        Args:
            indices: frame indices, each in [0, num_frames).
            scale: what to keep of a frame, from `uint8 (n, H, W, 3)` to a tensor of n rows. It is given some frames
                at a time, as they come, so that memory does not grow with the picture. None keeps them as they are.

        Returns:
            `uint8 (N, H, W, 3)`, RGB, upright; with `scale`, its N rows.

        Raises:
            IndexError: an index is out of range.
            VideoDecodeError: a frame can't be decoded.
        """
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= self.num_frames):
            bad = int(wanted.min() if wanted.min() < 0 else wanted.max())
            raise IndexError(f"{self.path}: frame index {bad} is not in [0, {self.num_frames})")
        unique, back = np.unique(wanted, return_inverse=True)
        if not unique.size:
            return self.frames_at([0], scale)[:0]
        kept = Frames(len(unique), scale, self.device)
        self._decode(unique, kept)
        frames = kept.tensor()
        if len(unique) == len(wanted) and bool((back == np.arange(len(back))).all()):
            return frames
        return frames[torch.from_numpy(back).to(frames.device)]

    @abstractmethod
    def _decode(self, indices: np.ndarray, frames: Frames) -> None:
        """Fills the places of frames at sorted, distinct, valid indices."""

    def _take_times(self, packets: "PacketTable", num_frames: int, fps: float) -> None:
        """Sets frame count, times and rate from the packet table, so that all backends count alike.

        Args:
            num_frames: the backend's own count.
            fps: the backend's own rate, for a container that states none.

        Raises:
            VideoDecodeError: the table does not tell the frames, or tells another number of them.
        """
        frame_pts = packets.frame_pts
        if frame_pts is None:
            raise VideoDecodeError(self.path, "its time stamps do not tell its frames")
        if num_frames != len(frame_pts):
            reason = f"{self.decoder} counts {num_frames} frames, the container has {len(frame_pts)}"
            raise VideoDecodeError(self.path, reason)
        self.num_frames = num_frames
        self.pts_seconds = frame_pts * packets.time_base
        self.fps = packets.average_fps or fps

    @abstractmethod
    def close(self) -> None:
        """Frees the decoder; the reader can't be used after it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> str:
        raise TypeError(f"{self.path}: an open video can't be sent to another process; send its path")
