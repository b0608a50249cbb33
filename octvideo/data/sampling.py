"""Which frames make a clip, and where its crops lie: pure arithmetic, no I/O.

A clip is `num_frames` moments, `frame_stride / fps` seconds apart, where `fps` is the model's and not the
file's: files of 25, 30 or 60 frames a second, or of a variable rate, give the same moments. At each moment
the frame that a viewer would see is taken: the last one presented at or before it.

A clip lasts `num_frames * frame_stride / fps` seconds, as in PySlowFast (`datasets/decoder.py`). In a video
shorter than that, the clip starts with the video and the last frame stands in for all moments after its end,
as PySlowFast clamps its indices.

Within the clip, moments are exactly `frame_stride / fps` apart. PySlowFast's `temporal_sampling` and pytorchvideo's
`uniform_temporal_subsample` spread the frames from the clip's first to its last instead, (64 - 1) / 7 = 9 frames apart
for 8 frames at stride 8 (0, 9, 18, …, 63 and not 0, 8, 16, …, 56); their published networks were trained so. Here the
stride is the one that the recipe and the paper name; `frame_stride` may be 9 to repeat theirs, and the clip is then
72/30 s long.

Worked example: 8 frames at stride 8 and 30 fps are 64/30 = 2.13 s of video, moments 0, 8/30, …, 56/30 s
after the clip's start. In a 60 fps file that is every 16th frame.
"""

import math
from collections.abc import Sequence

import numpy as np

# Containers round times to their tick, Matroska and FLV to 1 ms.
_TICK_SECONDS = 1e-3


def clip_seconds(*, num_frames: int, frame_stride: float, fps: float) -> float:
    """Length of a clip in seconds."""
    return num_frames * frame_stride / fps


def video_seconds(pts_seconds: Sequence[float] | np.ndarray) -> float:
    """Length of a video: the last frame counts for the median time between frames; one frame has length 0."""
    pts = np.asarray(pts_seconds, dtype=np.float64)
    if len(pts) < 2:
        return 0.0
    return float(pts[-1] - pts[0] + np.median(np.diff(pts)))


def random_start(video: float, clip: float, rng: np.random.Generator) -> float:
    """A start, seconds after the first frame, uniform over all at which the clip fits; 0 if none does."""
    return float(rng.uniform(0.0, max(video - clip, 0.0)))


def uniform_starts(video: float, clip: float, num_clips: int) -> list[float]:
    """`num_clips` starts, evenly spread from the first at which the clip fits to the last; one is centred.

    >>> uniform_starts(10.0, 2.0, 3)
    [0.0, 4.0, 8.0]
    >>> uniform_starts(10.0, 2.0, 1)
    [4.0]
    """
    last = max(video - clip, 0.0)
    if num_clips == 1:
        return [last / 2]
    return [last * clip_index / (num_clips - 1) for clip_index in range(num_clips)]


def frames_of_clip(
    pts_seconds: Sequence[float] | np.ndarray,
    start: float,
    *,
    num_frames: int,
    frame_stride: float,
    fps: float,
) -> list[int]:
    """Frame indices of the clip that starts `start` seconds after the first frame.

    Args:
        pts_seconds: the video's frame times, increasing.

    >>> frames_of_clip([i / 25 for i in range(50)], 0.0, num_frames=4, frame_stride=5, fps=10)
    [0, 12, 25, 37]
    """
    pts = np.asarray(pts_seconds, dtype=np.float64)
    moments = pts[0] + start + np.arange(num_frames) * (frame_stride / fps)
    indices = np.searchsorted(pts, moments + _TICK_SECONDS, side="right") - 1
    return [int(index) for index in np.clip(indices, 0, len(pts) - 1)]


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) when the short side becomes `short_side`; the long one is rounded down, as in PySlowFast."""
    if height <= width:
        return short_side, max(short_side, math.floor(width / height * short_side))
    return max(short_side, math.floor(height / width * short_side)), short_side


def crop_boxes(height: int, width: int, crop: int, num_crops: int) -> list[tuple[int, int]]:
    """(top, left) of `num_crops` square crops: the centre, or evenly spread along the long side.

    >>> crop_boxes(256, 340, 256, 3)
    [(0, 0), (0, 42), (0, 84)]
    >>> crop_boxes(256, 340, 224, 1)
    [(16, 58)]
    """
    if crop > min(height, width):
        raise ValueError(f"crop is {crop}, allowed is at most the short side, {min(height, width)}")
    top, left = (height - crop) // 2, (width - crop) // 2
    if num_crops == 1:
        return [(top, left)]
    if width >= height:
        return [(top, (width - crop) * part // (num_crops - 1)) for part in range(num_crops)]
    return [((height - crop) * part // (num_crops - 1), left) for part in range(num_crops)]
