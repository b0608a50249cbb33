"""A copy of a video with its most probable classes drawn on every frame."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from octvideo.files import replacing

MAX_SIDE = 640  # pixels of the longer side; larger videos are scaled down
NUM_LABELS = 3
_TICKS = 90_000  # a second

Labels = Sequence[tuple[str, float]]


def write_labelled_video(
    mp4: str | Path,
    frames: Iterable[tuple[float, np.ndarray]],
    labels_at: Callable[[float], Labels],
    *,
    fps: float,
) -> None:
    """Writes an H.264 file without sound, frame by frame; frames keep their times.

    Args:
        mp4: the file to write, replaced as a whole.
        frames: `(seconds, uint8 (H, W, 3))`, upright RGB, by increasing time.
        labels_at: from seconds to names and probabilities, the most probable first.
        fps: the nominal rate to note in the file.
    """
    with replacing(mp4) as temporary, av.open(str(temporary), "w") as container:
        stream = None
        first = 0.0
        for seconds, frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                stream.width, stream.height = _size(frame)
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "23", "preset": "veryfast"}
                stream.codec_context.time_base = Fraction(1, _TICKS)
                first = seconds
            size = (stream.width, stream.height)
            image = Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)
            _draw(image, labels_at(seconds - first))
            picture = av.VideoFrame.from_image(image)
            picture.pts, picture.time_base = round((seconds - first) * _TICKS), Fraction(1, _TICKS)
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode(None))


def _size(frame: np.ndarray) -> tuple[int, int]:
    """Width and height of the copy: even, as 4:2:0 wants, and large enough for a line of text."""
    height, width = frame.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width)) if max(height, width) >= 320 else 320 / max(height, width)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _draw(image: Image.Image, labels: Labels) -> None:
    """Bars behind names in the lower left corner."""
    size = max(11, image.height // 22)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image, "RGBA")
    line, pad = round(1.4 * size), size // 3
    top = image.height - line * len(labels[:NUM_LABELS]) - pad
    width = image.width - 2 * pad
    for row, (name, probability) in enumerate(labels[:NUM_LABELS]):
        y = top + row * line
        draw.rectangle((pad, y, pad + width, y + line - 2), fill=(0, 0, 0, 120))
        draw.rectangle((pad, y, pad + round(width * probability), y + line - 2), fill=(43, 92, 138, 200))
        text = f"{probability:4.0%}  {name}"
        while len(text) > 8 and draw.textlength(text, font=font) > width - 2 * pad:
            text = text[:-2].rstrip("…") + "…"
        draw.text((2 * pad, y + (line - 2) / 2), text, font=font, fill="white", anchor="lm")
