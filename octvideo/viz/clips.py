"""Which frames and views a clip takes, on the time line, and what augmentation does to it."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from octvideo.card import Card
from octvideo.data.dataset import ClipSpec
from octvideo.data.decode import open_video
from octvideo.data.sampling import crop_boxes, scaled_size, uniform_starts, video_seconds
from octvideo.data.transforms import EvalTransform, TrainTransform
from octvideo.viz._figure import BLUE, GREY, ORANGE, new_figure, picture, plain


def clip_times(pts_seconds: Sequence[float] | np.ndarray, spec: ClipSpec, start: float) -> np.ndarray:
    """Times of the frames that a clip takes, `float64 (T,)` seconds.

    Args:
        pts_seconds: the video's frame times.
        spec: what a clip is.
        start: seconds after the first frame.
    """
    pts = np.asarray(pts_seconds, dtype=np.float64)
    return pts[spec.indices(pts, start)]


def plot_clips(pts_seconds: Sequence[float] | np.ndarray, spec: ClipSpec, starts: Sequence[float]) -> Figure:
    """The frames that clips take from a video, one row a clip, over ticks for all its frames.

    Args:
        pts_seconds: the video's frame times.
        spec: what a clip is.
        starts: seconds after the first frame.
    """
    figure = new_figure(9, 1.2 + 0.3 * len(starts))
    axes = figure.subplots()
    pts = np.asarray(pts_seconds)
    axes.vlines(pts, -1.3, -0.7, color=GREY, linewidth=0.6)
    for row, start in enumerate(starts):
        times = clip_times(pts, spec, start)
        axes.hlines(row, pts[0] + start, pts[0] + start + spec.seconds, color=BLUE, alpha=0.25, linewidth=8)
        axes.plot(times, np.full(len(times), row), "o", color=BLUE, markersize=4)
    axes.set_yticks([-1, *range(len(starts))], ["all frames", *(f"clip {i + 1}" for i in range(len(starts)))])
    plain(axes, "seconds", "", f"{spec.num_frames} frames, stride {spec.frame_stride} at {spec.fps:g} fps")
    return figure


def plot_frames(frames: Tensor, title: str = "") -> Figure:
    """The frames of a clip in a row.

    Args:
        frames: `uint8 (T, H, W, 3)`.
        title: above the first.
    """
    figure = new_figure(1.2 * len(frames), 1.5 if title else 1.3)
    for axes, frame in zip(figure.subplots(1, len(frames), squeeze=False)[0], frames, strict=True):
        picture(axes, frame)
    if title:
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return figure


def plot_views(
    pts_seconds: Sequence[float] | np.ndarray,
    frame: Tensor,
    spec: ClipSpec,
    transform: EvalTransform,
    num_clips: int,
) -> Figure:
    """The views of a test: its clips on the time line, and its crops on a frame.

    Args:
        pts_seconds: the video's frame times.
        frame: `uint8 (H, W, 3)`, one of its frames.
        spec: what a clip is.
        transform: short side and crops.
        num_clips: clips a video; the views are `num_clips * transform.num_crops`.
    """
    figure = new_figure(10, 3.4)
    times, crops = figure.subplots(1, 2, width_ratios=(2, 1))
    pts = np.asarray(pts_seconds)
    for row, start in enumerate(uniform_starts(video_seconds(pts), spec.seconds, num_clips)):
        taken = clip_times(pts, spec, start)
        times.hlines(
            row + 1, pts[0] + start, pts[0] + start + spec.seconds, color=BLUE, alpha=0.25, linewidth=6
        )
        times.plot(taken, np.full(len(taken), row + 1), "o", color=BLUE, markersize=3)
    plain(times, "seconds", "clip", f"{num_clips} clips x {transform.num_crops} crops a video")
    times.invert_yaxis()
    size = scaled_size(frame.shape[0], frame.shape[1], transform.short_side)
    scaled = transform.scale(frame[None])[0]
    picture(crops, scaled, f"crops of {transform.crop} on {size[0]} x {size[1]}")
    for number, (top, left) in enumerate(crop_boxes(*size, transform.crop, transform.num_crops)):
        # A line's width inwards, so that boxes that share an edge can be told apart.
        inset = 1.0 + 2.0 * number
        side = transform.crop - 2 * inset
        box = Rectangle(
            (left + inset, top + inset), side, side, fill=False, ec=(ORANGE, BLUE, "white")[number % 3]
        )
        crops.add_patch(box)
    return figure


def plot_augmentation(frames: Tensor, transform: TrainTransform, *, count: int = 5, seed: int = 0) -> Figure:
    """The middle frame of a clip, and what `count` draws of the training transform make of it.

    Args:
        frames: `uint8 (T, H, W, 3)`, decoded.
        transform: the training transform.
        count: draws.
        seed: of the random numbers.
    """
    figure = new_figure(1.8 * (count + 1), 2.2)
    first, *others = figure.subplots(1, count + 1)
    middle = len(frames) // 2
    picture(first, frames[middle], f"decoded, {frames.shape[1]} x {frames.shape[2]}")
    for number, axes in enumerate(others):
        clip = transform(frames, np.random.default_rng((seed, number)))
        picture(
            axes, clip[:, middle].permute(1, 2, 0), f"draw {number + 1}, {clip.shape[-2]} x {clip.shape[-1]}"
        )
    return figure


def read_clip(path: str, card: Card, start: float | None = None) -> tuple[Tensor, Tensor]:
    """One centre crop of a video as a checkpoint's network takes it.

    Args:
        path: the video.
        card: the preprocessing, as `VideoClassifier.card` and `KineticsDataModule.card` have it.
        start: seconds after the first frame; None is the middle clip.

    Returns:
        The clip, normalised `float (3, T, H, W)`, and what it shows, `uint8 (T, H, W, 3)`.
    """
    spec = ClipSpec.of(card)
    transform = EvalTransform(card.test_short_side, card.test_crop, 1)
    with open_video(path) as video:
        if start is None:
            start = uniform_starts(video_seconds(video.pts_seconds), spec.seconds, 1)[0]
        frames = video.frames_at(spec.frames(video, start), transform.scale)
    clip = transform.crops(frames)[0]
    mean, std = (torch.tensor(colours).view(3, 1, 1, 1) for colours in (card.mean, card.std))
    return (clip.float() / 255 - mean) / std, clip.permute(1, 2, 3, 0)
