"""PyAV: the reference backend. Exact on every kind of file, because it checks where each seek has landed.

Random access decodes from the key frame at or before the wanted frame's time. The packet table says which
packet that is; after a seek, packets are dropped until exactly that one comes. Where a wanted frame does not
come out, or comes out damaged, decoding starts again from the beginning of the file.
"""

from collections.abc import Iterator

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from octvideo.data.decode._base import VideoDecodeError, VideoReader
from octvideo.data.decode._packets import PacketTable, av_failure, open_container, read_packets


class PyAVReader(VideoReader):
    """Reads a video with PyAV, on the CPU, in one thread."""

    decoder = "pyav"

    def __init__(self, path: str) -> None:
        self.path = path
        container, self._stream = open_container(path)
        self._container: InputContainer | None = container
        try:
            self.packets: PacketTable = read_packets(path, container, self._stream)
            self.header_seconds = _header_seconds(container, self._stream)
            self._plan()
        except BaseException:
            self.close()
            raise
        self._rotation: int | None = None

    def _plan(self) -> None:
        """Sets the frames' times, and for each frame the packet that decoding it starts from."""
        table = self.packets
        frame_pts = table.frame_pts
        self._by_time = frame_pts is not None
        if frame_pts is None:
            times = [frame.pts for _, frame in self.decode_from(0)]
            if not times:
                raise VideoDecodeError(self.path, "no frame can be decoded")
            fps = table.average_fps or 25.0
            # In the order of decoding; the times are sorted, since AVI shuffles them.
            known = [t for t in times if t is not None]
            if len(known) == len(times) and len(set(known)) == len(known):
                frame_pts = np.sort(np.asarray(known, dtype=np.int64))
            else:
                frame_pts = np.round(np.arange(len(times)) / fps / table.time_base).astype(np.int64)
        self._frame_pts: np.ndarray = frame_pts
        self.num_frames = len(frame_pts)
        self.pts_seconds = frame_pts * table.time_base
        span = float(self.pts_seconds[-1] - self.pts_seconds[0])
        self.fps = table.average_fps or ((self.num_frames - 1) / span if span else 25.0)
        # The last key packet whose time is not after the frame's; later ones can't serve (open GOP).
        keys = [
            (pts, at)
            for at, (pts, key) in enumerate(zip(table.pts, table.key, strict=True))
            if key and pts is not None
        ]
        keys.sort()
        self._key_pts = np.asarray([pts for pts, _ in keys], dtype=np.int64)
        self._key_at = [at for _, at in keys]
        self._at = {(pts, dts): at for at, (pts, dts) in enumerate(zip(table.pts, table.dts, strict=True))}

    @property
    def rotation(self) -> int:
        if self._rotation is None:
            for _, frame in self.decode_from(0):
                self._rotation = clockwise(frame)
                break
            else:
                raise VideoDecodeError(self.path, "no frame can be decoded")
        return self._rotation

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _decode(self, indices: np.ndarray) -> torch.Tensor:
        frames = _Frames(len(indices))
        if self._by_time:
            slots = {int(self._frame_pts[index]): slot for slot, index in enumerate(indices)}
            self._fill_by_time(slots, frames)
        else:
            slots = {int(index): slot for slot, index in enumerate(indices)}
            self._fill_by_count(slots, frames)
        if slots:
            index = int(indices[min(slots.values())])
            raise VideoDecodeError(self.path, f"frame {index} of {self.num_frames} can't be decoded")
        return torch.from_numpy(frames.array)

    def _fill_by_count(self, slots: dict[int, int], frames: "_Frames") -> None:
        for count, (_, frame) in enumerate(self.decode_from(0)):
            if count in slots:
                frames.put(slots.pop(count), self._rgb(frame))
            if not slots:
                return

    def _fill_by_time(self, slots: dict[int, int], frames: "_Frames") -> None:
        while slots:
            start = self._start_of(min(slots))
            if not self._run(start, slots, frames) and (start == 0 or not self._run(0, slots, frames)):
                return

    def _run(self, start: int, slots: dict[int, int], frames: "_Frames") -> bool:
        """Decodes from packet `start` on and takes the frames at the times in `slots`, removing them there.

        Stops when a wanted frame was passed, and when a later key frame is nearer to the next one.

        Returns:
            Whether the first wanted frame was found.
        """
        first = min(slots)
        for position, frame in self.decode_from(start):
            if frame.pts is None:
                continue
            if frame.pts in slots and not frame.is_corrupt:
                frames.put(slots.pop(frame.pts), self._rgb(frame))
                if not slots or self._start_of(min(slots)) > position:
                    break
            elif frame.pts >= min(slots):
                break
        return first not in slots

    def _start_of(self, pts: int) -> int:
        at = int(np.searchsorted(self._key_pts, pts, side="right")) - 1
        return self._key_at[at] if at >= 0 else 0

    def decode_from(self, start: int) -> Iterator[tuple[int, VideoFrame]]:
        """Decodes from packet number `start` on; gives (number of the packet last read, frame)."""
        try:
            for position, packet in self._packets_from(start):
                for frame in self._stream.codec_context.decode(packet):
                    yield position, frame
        except Exception as error:
            raise av_failure(self.path, error) from None

    def _packets_from(self, start: int) -> Iterator[tuple[int, av.Packet | None]]:
        table = self.packets
        if start:
            when = table.dts[start] if table.dts[start] is not None else table.pts[start]
            assert when is not None
            self._container_now().seek(when, stream=self._stream)
            found = self._skip_to(start)
            if found is not None:
                yield from found
                return
        # A fresh container is the only beginning that every format gives.
        self.close()
        self._container, self._stream = open_container(self.path)
        position = -1
        for packet in self._container.demux(self._stream):
            if packet.size:
                position += 1
                if position >= start:
                    yield position, packet
        yield position, None

    def _skip_to(self, start: int) -> Iterator[tuple[int, av.Packet | None]] | None:
        """Packets from number `start` on after a seek; None if the seek landed behind it."""
        packets = self._container_now().demux(self._stream)
        for packet in packets:
            at = self._at.get((packet.pts, packet.dts)) if packet.size else None
            if at is not None and at > start:
                return None
            if at == start:
                return self._rest(start, packet, packets)
        return None

    @staticmethod
    def _rest(
        start: int, first: av.Packet, packets: Iterator[av.Packet]
    ) -> Iterator[tuple[int, av.Packet | None]]:
        yield start, first
        position = start
        for packet in packets:
            if packet.size:
                position += 1
                yield position, packet
        yield position, None

    def _container_now(self) -> InputContainer:
        if self._container is None:
            raise VideoDecodeError(self.path, "the reader is closed")
        return self._container

    def _rgb(self, frame: VideoFrame) -> np.ndarray:
        context = self._stream.codec_context
        if (frame.width, frame.height) != (context.width, context.height):
            raise VideoDecodeError(self.path, "the frame size changes within the video")
        turned = clockwise(frame)
        self._rotation = turned
        rgb = frame.to_ndarray(format="rgb24")
        return np.rot90(rgb, -turned // 90) if turned else rgb


class _Frames:
    """The frames asked for, in one array that the first of them gives its size."""

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames
        self.array = np.empty((0, 0, 0, 3), dtype=np.uint8)

    def put(self, slot: int, rgb: np.ndarray) -> None:
        if not self.array.size:
            self.array = np.empty((self._num_frames, *rgb.shape), dtype=np.uint8)
        self.array[slot] = rgb


def _header_seconds(container: InputContainer, stream: VideoStream) -> float:
    """Length that the header states for the video stream or else for the file, 0 if for neither."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else 0.0


def clockwise(frame: VideoFrame) -> int:
    """The rotation to show a frame upright, degrees clockwise; FFmpeg counts anticlockwise."""
    return -round(frame.rotation / 90) * 90 % 360
