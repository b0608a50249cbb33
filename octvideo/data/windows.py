"""Long videos, scored window by window: every window is a video of its own, with its own views.

A window is a row of the data set, so windows are spread over workers and processes as videos are, and a video of any
length needs the memory of one window. Its file is opened again for each; that costs the reading of its packet table.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from octvideo.data.dataset import EvalDataset
from octvideo.data.decode import VideoDecodeError, VideoReader, header_seconds, open_video
from octvideo.data.manifest import Manifest
from octvideo.data.sampling import video_seconds, window_starts
from octvideo.errors import InputError


class Window(NamedTuple):
    """A stretch of a video, seconds after its first frame; `end` is None for a whole video."""

    video: int
    start: float = 0.0
    end: float | None = None


def plan_windows(paths: Sequence[str], window: float, hop: float) -> list[Window]:
    """The windows of all videos; a video in which no second window fits, or that can't be read, is one whole.

    Args:
        paths: the videos' files.
        window: seconds.
        hop: seconds from one window's start to the next's.

    Raises:
        ValueError: window or hop is not above 0, or the hop leaves gaps.
    """
    if not window > 0:
        raise InputError(f"window_s is {window:g}, allowed is more than 0")
    if not 0 < hop <= window:
        raise InputError(f"hop_s is {hop:g}, allowed is more than 0 and at most window_s, {window:g}")
    windows: list[Window] = []
    for video, path in enumerate(paths):
        seconds = _seconds(path, window + hop)
        starts = window_starts(seconds, window, hop)
        windows += [Window(video, s, s + window) for s in starts] if len(starts) > 1 else [Window(video)]
    return windows


def _seconds(path: str, least: float) -> float:
    """Length of a video; 0 where its header says that it is shorter than `least`, since reading all times takes longer.

    A file that can't be read has length 0, too: its item says what is wrong with it.
    """
    try:
        stated = header_seconds(path)
        if stated and stated < least - 1.0:
            return 0.0
        with open_video(path) as reader:
            return video_seconds(reader.pts_seconds)
    except VideoDecodeError:
        return 0.0


class WindowDataset(EvalDataset):
    """The views of windows; items are an EvalDataset's, and `video` is the window's number.

    Args:
        whole: the data set of the whole videos, whose settings are taken.
        windows: which stretches of them.
    """

    def __init__(self, whole: EvalDataset, windows: list[Window]) -> None:
        self.__dict__.update(whole.__dict__)
        self.windows = windows
        source = whole.manifest
        rows = [window.video for window in windows]
        self.manifest = Manifest(
            source.source, tuple(source.paths[row] for row in rows), tuple(source.labels[row] for row in rows)
        )

    def _times(self, reader: VideoReader, index: int) -> tuple[np.ndarray, int]:
        window, pts = self.windows[index], reader.pts_seconds
        if window.end is None:
            return pts, 0
        first, last = np.searchsorted(pts, pts[0] + np.array([window.start, window.end]) - 1e-6)
        return pts[first : max(last, first + 1)], int(first)
