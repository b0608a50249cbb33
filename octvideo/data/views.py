"""The views of a video: its frames once, and where each view lies in them.

Thirty views share most of their pixels. At 32 x 2 they are two to three times the frames that they lie in, and ten
times as floats; so the frames travel, from the worker and to the device, and views are cut out of them there, as many
at a time as the network takes.

Shapes: N frames, h x w their scaled size; V views, clip-major: view = clip * num_crops + crop; T frames of a view.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Views(NamedTuple):
    """All views of one video. A tuple, so that loaders pin and trainers move the frames in it.

    Attributes:
        frames: `uint8 (N, h, w, 3)`, each frame that a view takes, once.
        places: `int (V, T)`, where in `frames` the frames of each view are; on the host, as the corners are.
        corners: `int (V, 2)`, top and left of each view.
        side: height and width of the views, pixels.
        mean: of red, green, blue, in 0 to 1.
        std: of red, green, blue, in 0 to 1.
    """

    frames: Tensor
    places: np.ndarray
    corners: np.ndarray
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def num_views(self) -> int:
        return len(self.places)

    def batches(self, size: int) -> Iterator[Tensor]:
        """The views in order, `size` at a time, as the network takes them.

        Args:
            size: views at a time; the last ones may be fewer.

        Yields:
            `float32 (size, 3, T, side, side)` of mean 0 and variance 1, on the frames' device, channels last in memory
            as the frames are. The next ones overwrite it: fresh memory costs the CPU three times the work on it.
        """
        room = torch.empty(
            min(size, self.num_views),
            self.places.shape[1],
            self.side,
            self.side * 3,
            dtype=torch.float32,
            device=self.frames.device,
        )
        # A row of pixels each, so that sums run over whole rows and not over three numbers.
        mean, std = (torch.tensor(colours, dtype=torch.float64).mul(255) for colours in (self.mean, self.std))
        scale, shift = (row.float().repeat(self.side).to(room.device) for row in (1 / std, -mean / std))
        fill = self._frame_by_frame if room.device.type == "cpu" else self._by_one_gather
        for views in fill(room, scale, shift):
            yield views.unflatten(-1, (self.side, 3)).movedim(-1, 1)

    def _frame_by_frame(self, room: Tensor, scale: Tensor, shift: Tensor) -> Iterator[Tensor]:
        """For a CPU: a frame is normalised while the caches hold it, and no memory is taken."""
        side, rows = self.side, self.frames.flatten(2)  # (N, h, w * 3)
        for first in range(0, self.num_views, len(room)):
            views = room[: self.num_views - first]
            for view, places, (top, left) in zip(
                views, self.places[first:].tolist(), self.corners[first:].tolist(), strict=False
            ):
                box = rows[:, top : top + side, 3 * left : 3 * (left + side)]
                for frame, place in zip(view, places, strict=True):
                    torch.addcmul(shift, frame.copy_(box[place]), scale, out=frame)
            yield views

    def _by_one_gather(self, room: Tensor, scale: Tensor, shift: Tensor) -> Iterator[Tensor]:
        """For a GPU, where two launches a frame cost more than their work: two a batch, the gather and the sum."""
        # One copy to the device a video: (V, T) places, (V, 1) tops and lefts.
        numbers = torch.from_numpy(np.concatenate((self.places, self.corners), axis=1)).to(room.device)
        places, corners = numbers[:, :-2, None, None], numbers[:, None, None, -2:]
        steps = torch.arange(self.side, device=room.device)
        tops = (corners[..., 0] + steps).unsqueeze(-1)  # (V, 1, side, 1)
        lefts = corners[..., 1:] + steps  # (V, 1, 1, side)
        for first in range(0, self.num_views, len(room)):
            some = slice(first, first + len(room))
            boxes = self.frames[places[some], tops[some], lefts[some]]  # (size, T, side, side, 3)
            yield torch.addcmul(shift, boxes.flatten(-2), scale, out=room[: len(boxes)])

    def cut(self) -> Tensor:
        """All views at once, as `batches` gives them."""
        return next(self.batches(self.num_views))
