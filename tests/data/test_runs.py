"""Which packets are decoded for which frames, by hand."""

import numpy as np
import pytest

from octvideo.data.decode import PyAVReader
from octvideo.data.decode._packets import PacketTable
from octvideo.data.decode._runs import Run, RunPlanner


def planner(pts, keys):
    table = PacketTable(
        containers=frozenset({"mp4"}),
        codec="h264",
        bits=8,
        frame_bytes=0,
        pts=list(pts),
        dts=list(range(len(pts))),
        key=np.isin(np.arange(len(pts)), keys),
        shown=np.ones(len(pts), dtype=bool),
        keys_hold=True,
        time_base=1.0,
        average_fps=1.0,
    )
    return RunPlanner(table, np.sort(pts))


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([0], [Run(0, 0, {0: 0})]),
        ([1, 2], [Run(0, 3, {1: 0, 2: 1})]),  # frame 1 is packet 2, frame 2 is packet 3
        ([3], [Run(0, 1, {3: 0})]),
        ([2, 4, 7], [Run(0, 3, {2: 0}), Run(4, 5, {4: 1, 7: 2})]),
    ],
)
def test_closed_groups(indices, expected):
    # Two groups of I P b b: shown 0 3 1 2, 4 7 5 6.
    assert planner([0, 3, 1, 2, 4, 7, 5, 6], [0, 4]).runs(np.asarray(indices)) == expected


def test_a_frame_shown_before_its_key_frame_is_reached_from_the_one_before():
    # I P, then an open group: I and the b before it.
    assert planner([0, 1, 3, 2, 4], [0, 2]).runs(np.asarray([2, 3])) == [
        Run(0, 3, {2: 0}),
        Run(2, 2, {3: 1}),
    ]


def test_pictures_that_are_not_needed_are_not_decoded(make_video, tmp_path):
    """Frame 12 needs those at 0, 8 and 16, of which the last comes out after it and is not waited for."""
    parameters = "keyint=24:bframes=7:b-adapt=0:b-pyramid=none:scenecut=0"
    path = make_video(tmp_path / "a.mp4", num_frames=24, options={"x264-params": parameters})
    decoded = []

    class Spy(PyAVReader):
        def _decode_run(self, run, sparing):
            for frame in super()._decode_run(run, sparing):
                decoded.append(frame.pts)
                yield frame

    with Spy(str(path)) as video:
        ticks = video.pts_seconds / video.packets.time_base
        video.frames_at([12])
        assert [int(np.abs(ticks - pts).argmin()) for pts in decoded] == [0, 8, 12]
