"""Clip arithmetic against lists worked out by hand."""

import numpy as np
import pytest
import torch

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


def start_and_end(num_frames, size, clip_index, num_clips):
    """PySlowFast's get_start_end_idx (slowfast/datasets/decoder.py)."""
    start = max(num_frames - size, 0) * clip_index / num_clips
    return start, start + size - 1


def pyslowfast(pts, rate, clip_index, num_clips, *, num_frames, frame_stride, fps):
    """What its `decode` takes by pyav from a file whose header tells the length: `pyav_decode`, `temporal_sampling`.

    Args:
        pts: times of the frames in ticks, from 0.
    """
    size = frame_stride * num_frames / fps * rate
    start, end = start_and_end(len(pts), size, clip_index, num_clips)
    ticks = (pts[-1] + pts[1]) / len(pts)  # duration / frames
    begin, stop = int(start * ticks), int(end * ticks)
    decoded = []
    for number, time in enumerate(pts):  # pyav_decode_stream: from the first within, to the first behind
        if time >= begin:
            decoded.append(number)
        if time > stop:
            break
    start, end = start_and_end(len(decoded), size, 0, 1)
    places = torch.linspace(start, end, num_frames).clamp(0, len(decoded) - 1).long()
    return [decoded[place] for place in places.tolist()]


@pytest.mark.parametrize("length", [20, 64, 65, 97, 250, 299, 300, 301])
@pytest.mark.parametrize("rate", [30, 25, 30 / 1.001, 15])
@pytest.mark.parametrize(("count", "stride"), [(8, 8), (32, 2), (16, 4), (16, 5), (13, 6), (4, 16)])
def test_views_are_pyslowfasts(length, rate, count, stride):
    clip = {"num_frames": count, "frame_stride": stride, "fps": 30}
    ticks = {30: 512, 25: 512, 15: 1024}.get(rate, 1001)  # a frame, as FFmpeg writes MP4
    pts = np.arange(length) * ticks
    seconds = pts / (ticks * rate)
    starts = uniform_starts(video_seconds(seconds), clip_seconds(**clip), 10)
    for clip_index, start in enumerate(starts):
        assert frames_of_clip(seconds, start, **clip) == pyslowfast(pts, rate, clip_index, 10, **clip)


def test_a_clip_begins_with_a_whole_frame():
    pts = [i / 30 for i in range(300)]
    for start in (23.6 / 30, 24 / 30, 24 / 30 + 1e-9):
        assert frames_of_clip(pts, start, **CLIP) == [24, 33, 42, 51, 60, 69, 78, 87]
    # And of a variable rate: the next frame after 0.5 s is shown at 1 s.
    assert frames_of_clip([0.0, 0.1, 0.2, 1.0, 1.1, 1.6], 0.5, num_frames=2, frame_stride=1, fps=2) == [3, 5]
    assert frames_of_clip([0.0, 0.1, 0.3], 0.9, num_frames=2, frame_stride=1, fps=2) == [2, 2]


@pytest.mark.parametrize("rate", [30, 25, 12.5, 30 / 1.001, 24 / 1.001, 60])
def test_constant_rates_are_seen_through_the_rounding(rate):
    exact = [7 + i / rate for i in range(301)]
    assert constant_rate(exact) == pytest.approx(rate, rel=1e-12)
    assert constant_rate([round(t * 1000) / 1000 for t in exact]) == pytest.approx(rate, rel=1e-12)
    assert video_seconds([round(t * 1000) / 1000 for t in exact]) == pytest.approx(301 / rate, rel=1e-12)
    assert constant_rate(exact[:20]) == pytest.approx(rate, rel=1e-12)
    assert constant_rate([0.0, 10.0]) is None
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
