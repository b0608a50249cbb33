"""The packet table of a video: one pass over the container, without decoding.

It gives the presentation time of every frame and tells which decoder can be trusted with the file. Costs a
few milliseconds for a 10 s clip. It is done before any other library opens the file, since decord hangs on
some containers.
"""

import os
from dataclasses import dataclass
from functools import cached_property

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from octvideo.data.decode._base import VideoDecodeError
from octvideo.data.decode._h264 import starts_anew

# FFmpeg takes these for a video although they name other files, some over the network.
_PLAYLISTS = {"concat", "dash", "hls", "applehttp", "image2", "imf", "sdp", "rtsp", "webm_dash_manifest"}


@dataclass(frozen=True)
class PacketTable:
    """Packets of the video stream in the order of the file, P packets.

    Attributes:
        containers: FFmpeg's names of the container's format.
        codec: FFmpeg's name of the codec, such as "h264".
        bits: bits a colour component.
        frame_bytes: of a decoded picture, as the header states its size.
        pts, dts: times in `time_base` seconds, None where the file has none; P each.
        key: `bool (P,)`: decoding may start here.
        shown: `bool (P,)`: the packet gives a frame that is shown.
        keys_hold: whether the container marks no other packets as key frames than those of `key`.
        time_base: seconds a tick.
        average_fps: as the container states it, 0 if it does not.
    """

    containers: frozenset[str]
    codec: str
    bits: int
    frame_bytes: int
    pts: list[int | None]
    dts: list[int | None]
    key: np.ndarray
    shown: np.ndarray
    keys_hold: bool
    time_base: float
    average_fps: float

    @cached_property
    def frame_pts(self) -> np.ndarray | None:
        """Times of the frames in order, `int64 (num_frames,)`; None if packets alone do not tell them.

        They do not where a shown packet has no time or another one's time, where the stream does not begin
        with a key frame or begins with frames that need an earlier one, in AVI (its times are those of
        decoding, so B-frames are out of order) and in MPEG program streams (times differ after a seek).
        """
        shown_pts = [pts for pts, shown in zip(self.pts, self.shown, strict=True) if shown]
        times = [pts for pts in shown_pts if pts is not None]
        if not times or len(times) < len(shown_pts) or self.containers & {"avi", "mpeg"} or not self.key[0]:
            return None
        first_key = self.pts[0]
        if first_key is None or (self.shown[0] and min(times) < first_key):
            return None
        ordered = np.unique(np.asarray(times, dtype=np.int64))
        return ordered if len(ordered) == len(times) else None

    @property
    def has_open_gop(self) -> bool:
        """Whether a frame is stored after a key frame and shown before it: a seek to that key frame is off."""
        last_key: int | None = None
        for pts, key in zip(self.pts, self.key, strict=True):
            if key:
                last_key = pts
            elif pts is not None and last_key is not None and pts < last_key:
                return True
        return False


def av_failure(path: str, error: Exception) -> VideoDecodeError:
    """What PyAV raised over a file, as the one error.

    On damaged files that is nearly anything: FFmpegError, but IndexError too for a stream that appears late.
    """
    if isinstance(error, VideoDecodeError):
        return error
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return VideoDecodeError(path, text)


def open_container(path: str) -> tuple[InputContainer, VideoStream]:
    """Opens a local file with PyAV, its best video stream set to one decoding thread.

    Every reader and every look at a header begins here, so that nothing else meets what is no video.

    Raises:
        VideoDecodeError: anything is wrong with it; a folder, a pipe and a URL are no files.
    """
    if not os.path.isfile(path):
        raise VideoDecodeError(path, "is not a file" if os.path.exists(path) else "no such file")
    try:
        # Only files: a text file that is a playlist must not reach the network.
        container = av.open(path, options={"protocol_whitelist": "file"})
    except Exception as error:
        raise av_failure(path, error) from None
    try:
        stream = container.streams.best("video")
        if _PLAYLISTS & set(container.format.name.split(",")):
            raise VideoDecodeError(path, f"is a {container.format.name} playlist, not a video file")
        if stream is None:
            raise VideoDecodeError(path, "has no video stream")
        assert isinstance(stream, VideoStream)
        try:
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
        except (AttributeError, RuntimeError):
            raise VideoDecodeError(path, "its codec is not known to PyAV") from None
    except BaseException:
        container.close()
        raise
    return container, stream


def header_seconds(path: str) -> float:
    """Length that a file's header states, 0 if none; no packet is read.

    Raises:
        VideoDecodeError: the file can't be opened.
    """
    container, stream = open_container(path)
    with container:
        return stated_seconds(container, stream)


def stated_seconds(container: InputContainer, stream: VideoStream) -> float:
    """Length that the header states for the video stream or else for the file, 0 if for neither."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else 0.0


def read_packets(path: str, container: InputContainer, stream: VideoStream) -> PacketTable:
    """Reads all packets of the stream; the container stands at its end afterwards."""
    pts: list[int | None] = []
    dts: list[int | None] = []
    key: list[bool] = []
    shown: list[bool] = []
    keys_hold = True
    codec = stream.codec_context.codec.canonical_name
    extradata = stream.codec_context.extradata
    try:
        for packet in container.demux(stream):
            if packet.size == 0:  # the flush packet that ends the stream
                continue
            pts.append(packet.pts)
            dts.append(packet.dts)
            start = packet.is_keyframe
            if start and codec == "h264":
                start = starts_anew(memoryview(packet), extradata)
                keys_hold &= start
            key.append(start)
            # Bit 4 of a VP8 frame's first byte: "show_frame", RFC 6386, 9.1.
            hidden = codec == "vp8" and not memoryview(packet)[0] & 0x10
            shown.append(not (packet.is_discard or hidden))
    except Exception as error:
        raise av_failure(path, error) from None
    if not pts:
        raise VideoDecodeError(path, "its video stream is empty")
    components = stream.codec_context.format.components if stream.codec_context.format else ()
    return PacketTable(
        containers=frozenset(container.format.name.split(",")),
        codec=codec,
        bits=max((component.bits for component in components), default=8),
        frame_bytes=3 * stream.codec_context.width * stream.codec_context.height,
        pts=pts,
        dts=dts,
        key=np.asarray(key, dtype=bool),
        shown=np.asarray(shown, dtype=bool),
        keys_hold=keys_hold,
        time_base=float(stream.time_base or 0) or 1e-6,
        average_fps=float(stream.average_rate or 0),
    )
