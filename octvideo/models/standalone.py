"""Clips for a network, out of a video file: numpy and PyAV alone, by the rules that its model card says.

views("video.mp4")          float32 (V, 3, T, H, W), normalised
scores(logits)              float64 (C,), of the logits (V, C) of these views
python THIS_FILE NETWORK.onnx video.mp4     the five most probable classes, by onnxruntime
"""

import itertools
import math
import sys

import av
import numpy as np

CARD: dict = {}  # of the network


def views(path):
    """All views of a video as a whole, clip-major, float32 (V, 3, T, crop, crop); no windows of long ones."""
    with av.open(path) as container:
        times = np.array(
            [frame.pts * frame.time_base for frame in container.decode(video=0)], dtype=np.float64
        )
    clips = np.array(clip_indices(times))
    wanted, places = np.unique(clips, return_inverse=True)
    frames = np.stack([scaled(picture) for picture in pictures(path, set(wanted.tolist()))])
    places = places.reshape(clips.shape)
    crop = CARD["test_crop"]
    cut = [
        frames[clip, top : top + crop, left : left + crop]
        for clip in places
        for top, left in corners(*frames.shape[1:3])
    ]
    mean, std = (np.array(CARD[name]) for name in ("mean", "std"))
    return ((np.stack(cut) / 255 - mean) / std).astype(np.float32).transpose(0, 4, 1, 2, 3)


def scores(logits):
    """The mean of the views' softmax (of their sigmoid, where a video may be of several classes)."""
    logits = np.asarray(logits, dtype=np.float64)
    if CARD.get("multi_label"):
        return (1 / (1 + np.exp(-logits))).mean(axis=0)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)


def pictures(path, wanted):
    """Those frames of a video, by number, upright, uint8 (H, W, 3)."""
    with av.open(path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                yield np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))


# Which frames


def clip_indices(times):
    """The frames of each clip, (num_clips, T), of a video whose frames are shown at these seconds."""
    count, num_clips = CARD["num_frames"], CARD["num_clips"]
    if CARD.get("frame_times") == "segments":
        edges = [round((len(times) - 1) / count * part) for part in range(count + 1)]
        parts = list(itertools.pairwise(edges))
        return [
            [a + (b - a) * (2 * clip + 1) // (2 * num_clips) for a, b in parts] for clip in range(num_clips)
        ]
    room = max(video_seconds(times) - clip_seconds(), 0.0)
    starts = [room / 2] if num_clips == 1 else [room * clip / num_clips for clip in range(num_clips)]
    return [frames_of_clip(times, start) for start in starts]


def clip_seconds():
    return CARD["num_frames"] * CARD["frame_stride"] / CARD["fps"]


def video_seconds(times):
    """The last frame counts for the median time between frames."""
    if len(times) < 2:
        return 0.0
    rate = constant_rate(times)
    return len(times) / rate if rate else times[-1] - times[0] + np.median(np.diff(times))


def constant_rate(times):
    """Frames a second where all times are an even grid's, up to a container's rounding; None for other files."""
    if len(times) < 2:
        return None
    measured = (len(times) - 1) / (times[-1] - times[0])
    rates = (round(measured), round(2 * measured) / 2, round(1.001 * measured) / 1.001)
    errors = [(np.abs(times - times[0] - np.arange(len(times)) / rate).max(), rate) for rate in rates if rate]
    error, rate = min(errors, default=(math.inf, None))
    return rate if error < 1.1e-3 else None


def frames_of_clip(times, start):
    """The clip of the first frame that is shown `start` seconds after the video's first one, or later."""
    count, stride, fps = CARD["num_frames"], CARD["frame_stride"], CARD["fps"]
    rate, steps = constant_rate(times), np.arange(count) * stride / fps
    steps = steps if CARD.get("frame_times") == "steps" else None
    if rate:
        even = np.linspace(0.0, max(clip_seconds() * rate - 1, 0.0), count)
        indices = np.ceil(start * rate - 1e-6) + np.floor((even if steps is None else steps * rate) + 1e-6)
    else:
        one_frame = np.median(np.diff(times)) if len(times) > 1 else 0.0
        first = min(np.searchsorted(times, times[0] + start - 1.1e-3), len(times) - 1)
        even = np.linspace(0.0, max(clip_seconds() - one_frame, 0.0), count)
        moments = times[first] + (even if steps is None else steps)
        indices = np.searchsorted(times, moments + 1.1e-3, side="right") - 1
    return np.clip(indices, 0, len(times) - 1).astype(int).tolist()


# Which pixels


def scaled(picture):
    """The short side made `test_short_side`, bilinear with antialias, uint8."""
    height, width = picture.shape[:2]
    side = CARD["test_short_side"]
    high, wide = (
        (side, max(side, math.floor(width / height * side)))
        if height <= width
        else (max(side, math.floor(height / width * side)), side)
    )
    across = rounded(np.einsum("ij,hjc->hic", weights(width, wide), picture.astype(np.float64)))
    return rounded(np.einsum("ij,jwc->iwc", weights(height, high), across)).astype(np.uint8)


def weights(height, high):
    """What each of `high` pixels takes of `height` ones, (high, height): triangles."""
    step = height / high
    reach = max(step, 1.0)
    centres = (np.arange(high)[:, None] + 0.5) * step
    shares = np.clip(1 - np.abs(np.arange(height) + 0.5 - centres) / reach, 0, None)
    return shares / shares.sum(axis=1, keepdims=True)


def rounded(values):
    return np.clip(np.floor(values + 0.5), 0, 255)


def corners(height, width):
    """Top and left of each crop: the centre, or evenly along the long side."""
    crop, count = CARD["test_crop"], CARD["num_crops"]
    top, left = math.ceil((height - crop) / 2), math.ceil((width - crop) / 2)
    if count == 1:
        return [(top, left)]
    if width >= height:
        return [(top, math.ceil((width - crop) * part / (count - 1))) for part in range(count)]
    return [(math.ceil((height - crop) * part / (count - 1)), left) for part in range(count)]


def main():
    import onnxruntime

    network, path = sys.argv[1:]
    session = onnxruntime.InferenceSession(network)
    clips = views(path)
    found = scores(
        np.concatenate([session.run(None, {"clip": clips[at : at + 8]})[0] for at in range(0, len(clips), 8)])
    )
    names = CARD.get("class_names") or [f"class {number}" for number in range(len(found))]
    for best in np.argsort(-found, kind="stable")[:5]:
        print(f"{found[best]:8.4%}  {names[best]}")


if __name__ == "__main__":
    main()
