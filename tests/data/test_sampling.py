"""Clip arithmetic against lists worked out by hand."""

import numpy as np
import pytest

from octvideo.data.sampling import (
    clip_seconds,
    crop_boxes,
    frames_of_clip,
    random_start,
    scaled_size,
    uniform_starts,
    video_seconds,
)

CLIP = {"num_frames": 8, "frame_stride": 8, "fps": 30}


def test_the_model_rate_gives_the_stride():
    pts = [i / 30 for i in range(300)]
    assert frames_of_clip(pts, 0.0, **CLIP) == [0, 8, 16, 24, 32, 40, 48, 56]
    assert frames_of_clip(pts, 1.0, **CLIP) == [30, 38, 46, 54, 62, 70, 78, 86]


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (60, [0, 16, 32, 48, 64, 80, 96, 112]),
        (25, [0, 6, 13, 20, 26, 33, 40, 46]),
        (15, [0, 4, 8, 12, 16, 20, 24, 28]),
    ],
)
def test_other_rates_give_the_same_moments(fps, expected):
    assert frames_of_clip([i / fps for i in range(10 * fps)], 0.0, **CLIP) == expected


def test_a_variable_rate_gives_the_frame_on_show():
    # Shown at 0, 0.1, 0.2 s, then nothing new until 1 s.
    pts = [0.0, 0.1, 0.2, 1.0, 1.1]
    assert frames_of_clip(pts, 0.0, num_frames=4, frame_stride=1, fps=4) == [0, 2, 2, 2]
    assert frames_of_clip(pts, 0.0, num_frames=3, frame_stride=1, fps=2) == [0, 2, 3]


def test_times_rounded_to_milliseconds_do_not_shift_frames():
    pts = [round(i * 1000 / 30) / 1000 for i in range(300)]  # as Matroska stores them
    assert frames_of_clip(pts, 0.0, **CLIP) == [0, 8, 16, 24, 32, 40, 48, 56]


def test_times_need_not_begin_at_zero():
    pts = [1.4 + i / 30 for i in range(300)]  # as in MPEG-TS
    assert frames_of_clip(pts, 0.0, **CLIP) == [0, 8, 16, 24, 32, 40, 48, 56]


def test_a_short_video_repeats_its_last_frame():
    assert frames_of_clip([i / 30 for i in range(20)], 0.0, **CLIP) == [0, 8, 16, 19, 19, 19, 19, 19]
    assert frames_of_clip([0.0], 0.0, **CLIP) == [0] * 8
    assert uniform_starts(0.5, 2.0, 3) == [0.0, 0.0, 0.0]
    assert random_start(0.5, 2.0, np.random.default_rng(0)) == 0.0


def test_lengths():
    assert clip_seconds(**CLIP) == pytest.approx(64 / 30)
    assert video_seconds([i / 30 for i in range(300)]) == pytest.approx(10)
    assert video_seconds([5.0]) == 0.0


def test_uniform_clips_reach_from_the_first_to_the_last():
    assert uniform_starts(10.0, 2.0, 5) == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert uniform_starts(10.0, 2.0, 1) == [4.0]
    pts = [i / 30 for i in range(64)]  # exactly one clip long
    assert [frames_of_clip(pts, start, **CLIP)[0] for start in uniform_starts(64 / 30, 64 / 30, 3)] == [
        0,
        0,
        0,
    ]


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
        ((256, 340), 2, [(0, 0), (0, 84)]),
    ],
)
def test_crops_lie_along_the_long_side(size, num_crops, expected):
    assert crop_boxes(*size, 256, num_crops) == expected


def test_a_crop_larger_than_the_frame_is_refused():
    with pytest.raises(ValueError, match="crop is 257, allowed is at most the short side, 256"):
        crop_boxes(256, 340, 257, 1)
