"""A whole video decoded once from front to back, for checking a collection and for re-encoding it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame

from octvideo.data.decode._base import VideoDecodeError
from octvideo.data.decode._pyav import PyAVReader, clockwise


@dataclass(frozen=True)
class VideoScan:
    """What a full decode has shown.

    Attributes:
        num_frames: frames, all of which decode without damage.
        fps: average frames a second.
        seconds: from the first frame's time to the last one's, plus one frame.
        header_seconds: the length that the file's header states, 0 if it does not; longer than `seconds` where
            the end of a file is cut off.
        height, width: of the upright picture, pixels.
        codec: FFmpeg's name of the codec.
        num_repeated: frames whose brightness equals the frame's before, bit by bit. Still scenes have some;
            a file that is mostly repeats shows a fault.
        mean_gop: frames a key frame, on average.
    """

    num_frames: int
    fps: float
    seconds: float
    header_seconds: float
    height: int
    width: int
    codec: str
    num_repeated: int
    mean_gop: float


def scan_video(path: str) -> VideoScan:
    """Decodes every frame of a video with PyAV.

    Raises:
        VideoDecodeError: the file can't be opened, a frame does not decode or is damaged, or frames that the
            container lists do not come out.
    """
    with PyAVReader(path) as reader:
        before: bytes | None = None
        num_frames = num_repeated = height = width = 0
        for frame in whole_frames(reader):
            luma = bytes(frame.planes[0])
            num_repeated += luma == before
            before = luma
            num_frames += 1
            if num_frames == 1:
                height, width = frame.height, frame.width
                if clockwise(frame) in (90, 270):
                    height, width = width, height
        step = float(np.median(np.diff(reader.pts_seconds))) if num_frames > 1 else 1 / reader.fps
        return VideoScan(
            num_frames=num_frames,
            fps=round(reader.fps, 3),
            seconds=round(float(reader.pts_seconds[-1] - reader.pts_seconds[0]) + step, 3),
            header_seconds=round(reader.header_seconds, 3),
            height=height,
            width=width,
            codec=reader.packets.codec,
            num_repeated=num_repeated,
            mean_gop=round(num_frames / max(int(reader.packets.key.sum()), 1), 1),
        )


def whole_frames(reader: PyAVReader) -> Iterator[VideoFrame]:
    """All frames of a reader in order.

    Raises:
        VideoDecodeError: a damaged frame, or another number of frames than the reader counts.
    """
    count = 0
    size: tuple[int, int] | None = None
    for frame in reader.decode_all():
        if frame.is_corrupt:
            raise VideoDecodeError(reader.path, f"frame {count} of {reader.num_frames} is damaged")
        if size is not None and size != (frame.width, frame.height):
            raise VideoDecodeError(reader.path, "the frame size changes within the video")
        size = frame.width, frame.height
        yield frame
        count += 1
    if count != reader.num_frames:
        raise VideoDecodeError(reader.path, f"{count} of {reader.num_frames} frames decode")
