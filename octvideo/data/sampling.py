"""Which frames make a clip, and where its crops lie: pure arithmetic, no I/O.

The rules are PySlowFast's (`datasets/decoder.py` where a file's header tells its length, `datasets/transform.py`),
with which the weights of its zoo and pytorchvideo's were trained and measured. They are written in seconds, so that
they hold for any frame rate, a variable one too:

- a clip lasts `num_frames * frame_stride / fps` seconds, where `fps` is the model's and not the file's;
- it begins with the first frame that is shown at its start or later;
- its moments lie evenly from its first frame to its last, so a little further apart than `frame_stride / fps`;
- at each moment the frame that a viewer would see is taken: the last one presented at or before it;
- in a video shorter than the clip, the clip starts with the video and the last frame stands in for all moments
  after its end. (pytorchvideo's own transforms would spread the frames; its published numbers are PySlowFast's.)

That is the rule "even" of a card's `frame_times`. By "steps", torchvision's and mmaction2's, moments are exactly
`frame_stride / fps` apart, so the last one is that long before the clip's end. What else differs in torchvision's
measurement stands beside its numbers (`models/table.py`).

Worked example: 8 frames at stride 8 and 30 fps are 64/30 = 2.13 s of video. In a 30 fps file these are frames 0 to
63 of it, of which 0, 9, 18, 27, 36, 45, 54 and 63 are taken.
"""

import math
from collections.abc import Sequence

import numpy as np

from octvideo.errors import InputError

# Containers round times to their tick, Matroska and FLV to 1 ms.
_TICK_SECONDS = 1.1e-3
_ROUNDING = 1e-6  # of the sums here, in frames


def clip_seconds(*, num_frames: int, frame_stride: float, fps: float) -> float:
    """Length of a clip in seconds."""
    return num_frames * frame_stride / fps


def video_seconds(pts_seconds: Sequence[float] | np.ndarray) -> float:
    """Length of a video: the last frame counts for the median time between frames; one frame has length 0."""
    pts = np.asarray(pts_seconds, dtype=np.float64)
    if len(pts) < 2:
        return 0.0
    rate = constant_rate(pts)
    return len(pts) / rate if rate else float(pts[-1] - pts[0] + np.median(np.diff(pts)))


def constant_rate(pts_seconds: Sequence[float] | np.ndarray) -> float | None:
    """Frames a second where all times are an even grid's, up to a container's rounding; None for other files.

    The rates are whole numbers, halves, and a thousandth less than a whole one (29.97 is 30 / 1.001).
    """
    pts = np.asarray(pts_seconds, dtype=np.float64)
    if len(pts) < 2:
        return None
    measured = (len(pts) - 1) / (pts[-1] - pts[0])
    rates = (round(measured), round(2 * measured) / 2, round(1.001 * measured) / 1.001)
    # The nearest, since in a second of video 30 and 29.97 are both within the rounding.
    errors = [(float(np.abs(pts - pts[0] - np.arange(len(pts)) / r).max()), float(r)) for r in rates if r]
    error, rate = min(errors, default=(math.inf, 0.0))
    return rate if error < _TICK_SECONDS else None


def random_start(video: float, clip: float, rng: np.random.Generator) -> float:
    """A start, seconds after the first frame, uniform over all at which the clip fits; 0 if none does."""
    return float(rng.uniform(0.0, max(video - clip, 0.0)))


def uniform_starts(video: float, clip: float, num_clips: int) -> list[float]:
    """`num_clips` starts in equal steps, the first at 0; a single one is centred.

    As PySlowFast's: the steps are a `num_clips`-th of the room, so that the last clip ends before the video does.

    >>> uniform_starts(10.0, 2.0, 4)
    [0.0, 2.0, 4.0, 6.0]
    >>> uniform_starts(10.0, 2.0, 1)
    [4.0]
    """
    room = max(video - clip, 0.0)
    if num_clips == 1:
        return [room / 2]
    return [room * clip_index / num_clips for clip_index in range(num_clips)]


def window_starts(video: float, window: float, hop: float) -> list[float]:
    """Starts of the windows that cover a video, seconds; one, the whole video, unless a second window fits a hop on.

    The last window ends with the video, so it may start less than a hop after the one before it.

    >>> window_starts(26.0, 10.0, 5.0)
    [0.0, 5.0, 10.0, 15.0, 16.0]
    >>> window_starts(14.0, 10.0, 5.0)
    [0.0]
    """
    if video < window + hop - _TICK_SECONDS:
        return [0.0]
    starts = [hop * index for index in range(math.floor((video - window + _TICK_SECONDS) / hop) + 1)]
    last = video - window
    return [*starts, last] if last - starts[-1] > _TICK_SECONDS else starts


def frames_of_clip(
    pts_seconds: Sequence[float] | np.ndarray,
    start: float,
    *,
    num_frames: int,
    frame_stride: float,
    fps: float,
    frame_times: str = "even",
) -> list[int]:
    """Frame indices of the clip of the first frame that is shown `start` seconds after the video's first one, or later.

    Args:
        pts_seconds: the video's frame times, increasing.

    >>> frames_of_clip([i / 30 for i in range(50)], 0.0, num_frames=4, frame_stride=5, fps=15)
    [0, 13, 26, 39]
    >>> frames_of_clip(
    ...     [i / 30 for i in range(50)], 0.0, num_frames=4, frame_stride=5, fps=15, frame_times="steps"
    ... )
    [0, 10, 20, 30]
    """
    pts = np.asarray(pts_seconds, dtype=np.float64)
    length = clip_seconds(num_frames=num_frames, frame_stride=frame_stride, fps=fps)
    rate = constant_rate(pts)
    steps = np.arange(num_frames) * frame_stride / fps if frame_times == "steps" else None
    if rate:  # frames are counted, as PySlowFast does, so that no rounding of times shows
        first = np.ceil(start * rate - _ROUNDING)
        even = np.linspace(0.0, max(length * rate - 1, 0.0), num_frames)
        indices = first + np.floor((even if steps is None else steps * rate) + _ROUNDING)
    else:
        one_frame = float(np.median(np.diff(pts))) if len(pts) > 1 else 0.0
        begin = min(int(np.searchsorted(pts, pts[0] + start - _TICK_SECONDS)), len(pts) - 1)
        even = np.linspace(0.0, max(length - one_frame, 0.0), num_frames)
        moments = pts[begin] + (even if steps is None else steps)
        indices = np.searchsorted(pts, moments + _TICK_SECONDS, side="right") - 1
    return [int(index) for index in np.clip(indices, 0, len(pts) - 1)]


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) when the short side becomes `short_side`; the long one is rounded down, as in PySlowFast."""
    if height <= width:
        return short_side, max(short_side, math.floor(width / height * short_side))
    return max(short_side, math.floor(height / width * short_side)), short_side


def crop_boxes(height: int, width: int, crop: int, num_crops: int) -> list[tuple[int, int]]:
    """(top, left) of `num_crops` square crops: the centre, or evenly spread along the long side; halves round up.

    >>> crop_boxes(256, 340, 256, 3)
    [(0, 0), (0, 42), (0, 84)]
    >>> crop_boxes(256, 340, 224, 1)
    [(16, 58)]
    >>> crop_boxes(256, 341, 256, 3)
    [(0, 0), (0, 43), (0, 85)]
    """
    if crop > min(height, width):
        raise InputError(f"crop is {crop}, allowed is at most the short side, {min(height, width)}")
    top, left = math.ceil((height - crop) / 2), math.ceil((width - crop) / 2)
    if num_crops == 1:
        return [(top, left)]
    if width >= height:
        return [(top, math.ceil((width - crop) * part / (num_crops - 1))) for part in range(num_crops)]
    return [(math.ceil((height - crop) * part / (num_crops - 1)), left) for part in range(num_crops)]
