"""Clip arithmetic against lists worked out by hand."""

import math

import numpy as np
import pytest

from octvideo.data.sampling import (
    clip_seconds,
    constant_rate,
    crop_boxes,
    frames_of_clip,
    random_start,
    scaled_size,
    uniform_starts,
    video_seconds,
    window_starts,
)

CLIP = {"num_frames": 8, "frame_stride": 8, "fps": 30}


# The first frames of ten uniform clips of 8 x 8, and of one clip of 32 x 2, in 300 frames at 30 a second: printed by
# PySlowFast's get_start_end_idx and temporal_sampling (slowfast/datasets/decoder.py, commit 287ec00).
PYSLOWFAST_8X8 = [
    [0, 9, 18, 27, 36, 45, 54, 63],
    [23, 32, 41, 50, 59, 68, 77, 86],
    [47, 56, 65, 74, 83, 92, 101, 110],
    [70, 79, 88, 97, 106, 115, 124, 133],
    [94, 103, 112, 121, 130, 139, 148, 157],
    [118, 127, 136, 145, 154, 163, 172, 181],
    [141, 150, 159, 168, 177, 186, 195, 204],
    [165, 174, 183, 192, 201, 210, 219, 228],
    [188, 197, 206, 215, 224, 233, 242, 251],
    [212, 221, 230, 239, 248, 257, 266, 275],
]
# fmt: off
PYSLOWFAST_32X2_LAST = [
    212, 214, 216, 218, 220, 222, 224, 226, 228, 230, 232, 234, 236, 238, 240, 242,
    244, 246, 248, 251, 253, 255, 257, 259, 261, 263, 265, 267, 269, 271, 273, 275,
]
# fmt: on


def ten_clips(num_frames, fps, clip):
    pts = [i / fps for i in range(num_frames)]
    starts = uniform_starts(video_seconds(pts), clip_seconds(**clip), 10)
    return [frames_of_clip(pts, start, **clip) for start in starts]


def test_ten_clips_are_pyslowfasts():
    assert ten_clips(300, 30, CLIP) == PYSLOWFAST_8X8
    assert ten_clips(300, 30, {"num_frames": 32, "frame_stride": 2, "fps": 30})[9] == PYSLOWFAST_32X2_LAST
    assert ten_clips(250, 25, CLIP)[:2] == [
        [0, 7, 14, 22, 29, 37, 44, 52],
        [19, 27, 34, 42, 49, 57, 64, 72],
    ]
    x3d_m = {"num_frames": 16, "frame_stride": 5, "fps": 30}
    assert ten_clips(299, 29.97, x3d_m)[4] == [
        87, 92, 98, 103, 108, 113, 119, 124, 129, 134, 140, 145, 150, 156, 161, 166
    ]  # fmt: skip


@pytest.mark.parametrize("num_frames", [250, 299, 300, 301])
@pytest.mark.parametrize(("count", "stride"), [(8, 8), (32, 2), (16, 4), (16, 5), (13, 6), (4, 16)])
def test_views_are_pyslowfasts_formula(num_frames, count, stride):
    size = count * stride  # at 30 frames a second
    for clip_index, clip in enumerate(
        ten_clips(num_frames, 30, {"num_frames": count, "frame_stride": stride, "fps": 30})
    ):
        start = max(num_frames - size, 0) * clip_index / 10
        assert clip == [math.floor(start + k * (size - 1) / (count - 1) + 1e-6) for k in range(count)]


@pytest.mark.parametrize("rate", [30, 25, 12.5, 30 / 1.001, 24 / 1.001, 60])
def test_constant_rates_are_seen_through_the_rounding(rate):
    exact = [7 + i / rate for i in range(301)]
    assert constant_rate(exact) == pytest.approx(rate, rel=1e-12)
    assert constant_rate([round(t * 1000) / 1000 for t in exact]) == pytest.approx(rate, rel=1e-12)
    assert video_seconds([round(t * 1000) / 1000 for t in exact]) == pytest.approx(301 / rate, rel=1e-12)
    assert constant_rate([*exact[:100], *exact[101:]]) is None  # a frame dropped
    assert constant_rate([0.0]) is None


def test_the_clip_ends_with_its_last_frame():
    pts = [i / 30 for i in range(300)]
    assert frames_of_clip(pts, 0.0, **CLIP) == [0, 9, 18, 27, 36, 45, 54, 63]
    assert frames_of_clip(pts, 1.0, **CLIP) == [30, 39, 48, 57, 66, 75, 84, 93]
    assert frames_of_clip(pts, 1.0, num_frames=1, frame_stride=8, fps=30) == [30]


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (60, [0, 18, 36, 54, 72, 90, 108, 127]),
        (25, [0, 7, 14, 22, 29, 37, 44, 52]),
        (15, [0, 4, 8, 13, 17, 22, 26, 31]),
    ],
)
def test_other_rates_give_the_same_moments(fps, expected):
    assert frames_of_clip([i / fps for i in range(10 * fps)], 0.0, **CLIP) == expected


def test_a_variable_rate_gives_the_frame_on_show():
    # Shown at 0, 0.1, 0.2 s, then nothing new until 1 s; the clips' last moments are 0.9 and 1.4 s.
    pts = [0.0, 0.1, 0.2, 1.0, 1.1]
    assert frames_of_clip(pts, 0.0, num_frames=4, frame_stride=1, fps=4) == [0, 2, 2, 2]
    assert frames_of_clip(pts, 0.0, num_frames=3, frame_stride=1, fps=2) == [0, 2, 4]


def test_times_rounded_to_milliseconds_do_not_shift_frames():
    pts = [round(i * 1000 / 30) / 1000 for i in range(300)]  # as Matroska stores them
    assert frames_of_clip(pts, 0.0, **CLIP) == [0, 9, 18, 27, 36, 45, 54, 63]


def test_times_need_not_begin_at_zero():
    pts = [1.4 + i / 30 for i in range(300)]  # as in MPEG-TS
    assert frames_of_clip(pts, 0.0, **CLIP) == [0, 9, 18, 27, 36, 45, 54, 63]


def test_a_short_video_repeats_its_last_frame():
    assert frames_of_clip([i / 30 for i in range(20)], 0.0, **CLIP) == [0, 9, 18, 19, 19, 19, 19, 19]
    assert frames_of_clip([0.0], 0.0, **CLIP) == [0] * 8
    assert uniform_starts(0.5, 2.0, 3) == [0.0, 0.0, 0.0]
    assert random_start(0.5, 2.0, np.random.default_rng(0)) == 0.0


def test_lengths():
    assert clip_seconds(**CLIP) == pytest.approx(64 / 30)
    assert video_seconds([i / 30 for i in range(300)]) == pytest.approx(10)
    assert video_seconds([5.0]) == 0.0


def test_uniform_clips_go_in_equal_steps():
    assert uniform_starts(10.0, 2.0, 5) == pytest.approx([0.0, 1.6, 3.2, 4.8, 6.4])
    assert uniform_starts(10.0, 2.0, 1) == [4.0]
    pts = [i / 30 for i in range(64)]  # exactly one clip long
    starts = uniform_starts(64 / 30, 64 / 30, 3)
    assert [frames_of_clip(pts, start, **CLIP)[0] for start in starts] == [0, 0, 0]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (9.0, [0.0]),
        (10.0, [0.0]),
        (14.9, [0.0]),
        (15.0, [0.0, 5.0]),
        (20.0, [0.0, 5.0, 10.0]),
        (21.0, [0.0, 5.0, 10.0, 11.0]),
    ],
)
def test_windows_cover_the_video(seconds, expected):
    assert window_starts(seconds, 10.0, 5.0) == pytest.approx(expected)


def test_random_starts_cover_the_video_evenly():
    rng = np.random.default_rng(0)
    starts = [random_start(10.0, 2.0, rng) for _ in range(2000)]
    assert 0 <= min(starts) < 0.1
    assert 7.9 < max(starts) <= 8
    assert np.mean(starts) == pytest.approx(4, abs=0.2)


def test_scaled_size_keeps_the_ratio():
    assert scaled_size(256, 340, 256) == (256, 340)
    assert scaled_size(240, 426, 256) == (256, 454)
    assert scaled_size(426, 240, 256) == (454, 256)
    assert scaled_size(100, 100, 256) == (256, 256)


@pytest.mark.parametrize(
    ("size", "num_crops", "expected"),
    [
        ((256, 340), 1, [(0, 42)]),
        ((256, 340), 3, [(0, 0), (0, 42), (0, 84)]),
        ((340, 256), 3, [(0, 0), (42, 0), (84, 0)]),
        ((256, 256), 3, [(0, 0), (0, 0), (0, 0)]),
        # PySlowFast's uniform_crop rounds the centre up: ceil((341 - 256) / 2).
        ((256, 341), 3, [(0, 0), (0, 43), (0, 85)]),
        ((455, 256), 3, [(0, 0), (100, 0), (199, 0)]),
        ((256, 340), 2, [(0, 0), (0, 84)]),
    ],
)
def test_crops_lie_along_the_long_side(size, num_crops, expected):
    assert crop_boxes(*size, 256, num_crops) == expected


def test_a_crop_larger_than_the_frame_is_refused():
    with pytest.raises(ValueError, match="crop is 257, allowed is at most the short side, 256"):
        crop_boxes(256, 340, 257, 1)
