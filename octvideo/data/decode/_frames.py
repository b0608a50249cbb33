"""Frames on their way out of a decoder: put in their places as they come, scaled some at a time.

Ten clips of 32 frames of a 4K video are 6.4 GB; scaled to a short side of 256 they are 90 MB. So a reader is told how
its frames will be scaled, and holds few at their full size. Of small pictures all fit, and are scaled in one go.
"""

from collections.abc import Callable
from math import prod

import numpy as np
import torch

# From frames `uint8 (n, H, W, 3)` to a tensor of n rows, the same for a frame whatever the others are.
Scale = Callable[[torch.Tensor], torch.Tensor]

# Of full-size frames that wait for being scaled: two of 4K, and 250 of Kinetics' copies; a GPU decodes more in a call.
BYTES_ON_THE_CPU, BYTES_ON_A_GPU = 64 * 2**20, 512 * 2**20


def at_a_time(num_frames: int, frame_bytes: int, scale: Scale | None, device: torch.device) -> int:
    """How many of `num_frames` are held at their full size."""
    if scale is None:
        return num_frames
    budget = BYTES_ON_THE_CPU if device.type == "cpu" else BYTES_ON_A_GPU
    return min(num_frames, max(1, budget // max(frame_bytes, 1)))


class Frames:
    """The places of the frames that were asked for.

    A place may be filled again: a decoder that finds frames damaged, or that fails, begins anew.

    Args:
        num_frames: places, at least one.
        scale: what is kept of a frame; None keeps it as it is.
        device: where frames are scaled and kept.
    """

    def __init__(
        self,
        num_frames: int,
        scale: Scale | None = None,
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> None:
        self.num_frames = num_frames
        self.scale = scale
        self.device = device
        self._kept: torch.Tensor | None = None
        self._waiting = np.empty((0, 0, 0, 3), dtype=np.uint8)
        self._slots: dict[int, int] = {}  # of the waiting frames: place to row

    def put(self, slot: int, rgb: np.ndarray) -> None:
        """Fills one place, `uint8 (H, W, 3)`."""
        if not self._waiting.size:
            room = at_a_time(self.num_frames, prod(rgb.shape), self.scale, torch.device("cpu"))
            self._waiting = np.empty((room, *rgb.shape), dtype=np.uint8)
        self._waiting[self._slots.setdefault(slot, len(self._slots))] = rgb
        if len(self._slots) == len(self._waiting):
            self._keep_waiting()

    def put_run(self, first: int, frames: torch.Tensor) -> None:
        """Fills the places from `first` on, `uint8 (n, H, W, 3)`."""
        self._keep([*range(first, first + len(frames))], frames)

    def tensor(self) -> torch.Tensor:
        """What was kept of all frames, by place."""
        if self._slots:
            self._keep_waiting()
        assert self._kept is not None
        return self._kept

    def _keep_waiting(self) -> None:
        slots, count = list(self._slots), len(self._slots)
        self._keep(slots, torch.from_numpy(self._waiting[:count]))
        self._slots = {}

    def _keep(self, slots: list[int], frames: torch.Tensor) -> None:
        frames = frames.to(self.device)
        rows = self.scale(frames) if self.scale else frames
        if self._kept is None and slots == [*range(self.num_frames)]:
            self._kept = rows  # which may be the waiting frames, or a view of them
            self._waiting = self._waiting[:0]
            return
        if self._kept is None:
            self._kept = rows.new_empty((self.num_frames, *rows.shape[1:]))
        self._kept[slots] = rows
