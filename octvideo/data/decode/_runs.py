"""Which packets have to be decoded for which frames: arithmetic on the packet table, no I/O.

A frame is reached from the last key frame that is not shown after it. Each key frame so used starts a run of
packets, which ends with the last one that gives a wanted frame.
"""

from dataclasses import dataclass

import numpy as np

from octvideo.data.decode._packets import PacketTable


@dataclass(frozen=True)
class Run:
    """Packets to decode one after the other.

    Attributes:
        first, last: numbers of the packets, both included; `first` is a key frame, or the file's first packet.
        slots: place in the result, by the presentation time of the wanted frame.
    """

    first: int
    last: int
    slots: dict[int, int]


class RunPlanner:
    """Plans runs for a file whose packets tell the times of its frames.

    Args:
        packets: the file's packet table.
        frame_pts: the frames' times in order, in the table's ticks.
    """

    def __init__(self, packets: PacketTable, frame_pts: np.ndarray) -> None:
        self._frame_pts = frame_pts
        # Later key frames can't serve: with an open GOP they come before frames that need an earlier one.
        keys = sorted((pts, at) for at, pts in enumerate(packets.pts) if packets.key[at] and pts is not None)
        self._key_pts = np.asarray([pts for pts, _ in keys], dtype=np.int64)
        self._key_at = [at for _, at in keys]
        self._at = {pts: at for at, pts in enumerate(packets.pts) if packets.shown[at] and pts is not None}

    def runs(self, indices: np.ndarray) -> list[Run]:
        """Runs that give the frames at sorted, distinct indices; the result's places follow the indices."""
        slots: dict[int, dict[int, int]] = {}
        for slot, index in enumerate(indices):
            pts = int(self._frame_pts[index])
            slots.setdefault(self._first(pts), {})[pts] = slot
        return [Run(first, max(self._at[pts] for pts in of_run), of_run) for first, of_run in slots.items()]

    def _first(self, pts: int) -> int:
        at = int(np.searchsorted(self._key_pts, pts, side="right")) - 1
        return self._key_at[at] if at >= 0 else 0
