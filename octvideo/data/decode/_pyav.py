"""PyAV: the reference backend. Exact on every kind of file, because it checks where each seek has landed.

Random access decodes from the key frame at or before the wanted frame's time. The packet table says which
packet that is; after a seek, packets are dropped until exactly that one comes. H.264 pictures that nothing
refers to (most B-frames) are not decoded unless they are wanted. Where a wanted frame does not come out, or
comes out damaged, decoding starts again from the beginning of the file.
"""

from collections.abc import Iterator
from itertools import chain, islice

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from octvideo.data.decode._base import VideoDecodeError, VideoReader
from octvideo.data.decode._frames import Frames
from octvideo.data.decode._h264 import is_disposable
from octvideo.data.decode._packets import (
    PacketTable,
    av_failure,
    open_container,
    read_packets,
    stated_seconds,
)
from octvideo.data.decode._runs import Run, RunPlanner


class PyAVReader(VideoReader):
    """Reads a video with PyAV, on the CPU, in one thread."""

    decoder = "pyav"

    def __init__(self, path: str) -> None:
        self.path = path
        container, self._stream = open_container(path)
        self._container: InputContainer | None = container
        try:
            self.packets: PacketTable = read_packets(path, container, self._stream)
            self.header_seconds = stated_seconds(container, self._stream)
            self._plan()
        except BaseException:
            self.close()
            raise
        self._rotation: int | None = None
        self._converter = VideoReformatter()
        self._shape: tuple[int, ...] | None = None

    def _plan(self) -> None:
        """Sets the frames' times, and how each is reached."""
        table = self.packets
        frame_pts = table.frame_pts
        self._planner = None if frame_pts is None else RunPlanner(table, frame_pts)
        if frame_pts is None:
            times = [frame.pts for frame in self.decode_all()]
            if not times:
                raise VideoDecodeError(self.path, "no frame can be decoded")
            fps = table.average_fps or 25.0
            # In the order of decoding; the times are sorted, since AVI shuffles them.
            known = [t for t in times if t is not None]
            if len(known) == len(times) and len(set(known)) == len(known):
                frame_pts = np.sort(np.asarray(known, dtype=np.int64))
            else:
                frame_pts = np.round(np.arange(len(times)) / fps / table.time_base).astype(np.int64)
        self.num_frames = len(frame_pts)
        self.pts_seconds = frame_pts * table.time_base
        span = float(self.pts_seconds[-1] - self.pts_seconds[0])
        self.fps = table.average_fps or ((self.num_frames - 1) / span if span else 25.0)
        self._at = {(pts, dts): at for at, (pts, dts) in enumerate(zip(table.pts, table.dts, strict=True))}

    @property
    def rotation(self) -> int:
        if self._rotation is None:
            for frame in self.decode_all():
                self._rotation = clockwise(frame)
                break
            else:
                raise VideoDecodeError(self.path, "no frame can be decoded")
        return self._rotation

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _decode(self, indices: np.ndarray, frames: Frames) -> None:
        if self._planner is None:
            missing = self._fill_by_count(indices, frames)
        else:
            missing = {
                slot
                for run in self._planner.runs(indices)
                if (unseen := self._fill(run, frames))
                # Once more from the file's beginning, leaving out no packet.
                for slot in self._fill(Run(0, run.last, unseen), frames, sparing=False).values()
            }
        if missing:
            index = int(indices[min(missing)])
            raise VideoDecodeError(self.path, f"frame {index} of {self.num_frames} can't be decoded")

    def _fill_by_count(self, indices: np.ndarray, frames: Frames) -> set[int]:
        """Takes frames by counting from the file's beginning; gives the places that stay empty."""
        slots = {int(index): slot for slot, index in enumerate(indices)}
        return set(self._take(enumerate(self.decode_all()), slots, frames).values())

    def _fill(self, run: Run, frames: Frames, *, sparing: bool = True) -> dict[int, int]:
        """Decodes a run and takes its frames; gives those of its `slots` that did not come out whole.

        Args:
            sparing: whether to leave out packets that nothing refers to.
        """
        decoded = self._decode_run(run, sparing and self.packets.codec == "h264")
        try:
            return self._take(((frame.pts, frame) for frame in decoded), run.slots, frames)
        except VideoDecodeError:
            if not run.first and not sparing:
                raise
            return run.slots

    def _take(
        self, decoded: Iterator[tuple[int | None, VideoFrame]], slots: dict[int, int], frames: Frames
    ) -> dict[int, int]:
        """Takes the frames that `slots` asks for; gives those of `slots` that did not come, or not whole.

        A damaged frame is marked, those that refer to it are not: from key frame to key frame, all or none hold.
        """
        missing = dict(slots)
        taken: list[int] = []
        damaged = False
        for number, frame in decoded:
            if frame.key_frame:
                missing |= {number: slots[number] for number in taken if damaged}
                taken, damaged = [], False
            damaged |= frame.is_corrupt
            if number is not None and number in missing:
                frames.put(missing.pop(number), self._rgb(frame))
                taken.append(number)
                if not missing:
                    break
        return missing | {number: slots[number] for number in taken if damaged}

    def _decode_run(self, run: Run, sparing: bool) -> Iterator[VideoFrame]:
        try:
            packets = self._packets_from(run.first)
            context = self._stream.codec_context
            for position, packet in packets:
                if position > run.last:
                    break
                spare = sparing and packet.pts not in run.slots
                if not (spare and is_disposable(memoryview(packet), context.extradata)):
                    yield from context.decode(packet)
            yield from context.decode(None)
        except Exception as error:
            raise av_failure(self.path, error) from None

    def decode_all(self) -> Iterator[VideoFrame]:
        """Decodes the file from front to back."""
        try:
            yield from self._restart().decode(self._stream)
        except Exception as error:
            raise av_failure(self.path, error) from None

    def _restart(self) -> InputContainer:
        """A fresh container, the only beginning that every format gives."""
        self.close()
        self._container, self._stream = open_container(self.path)
        return self._container

    def _packets_from(self, first: int) -> Iterator[tuple[int, av.Packet]]:
        """(number, packet) from packet number `first` on, the decoder emptied."""
        # MP4 and Matroska seek by presentation time, transport streams by decoding time.
        for when in (self.packets.pts[first], self.packets.dts[first]):
            found = None if when is None else self._seek(when, first)
            if found is not None:
                return found
        packets = self._restart().demux(self._stream)
        return islice(enumerate(packet for packet in packets if packet.size), first, None)

    def _seek(self, when: int, first: int) -> Iterator[tuple[int, av.Packet]] | None:
        """Packets from number `first` on after a seek; None if the seek failed or landed behind it."""
        if self._container is None:
            raise VideoDecodeError(self.path, "the reader is closed")
        try:
            self._container.seek(when, stream=self._stream)
        except av.FFmpegError:
            return None
        packets = (packet for packet in self._container.demux(self._stream) if packet.size)
        for packet in packets:
            at = self._at.get((packet.pts, packet.dts), -1)
            if at >= first:
                return enumerate(chain([packet], packets), first) if at == first else None
        return None

    def _rgb(self, frame: VideoFrame) -> np.ndarray:
        turned = clockwise(frame)
        self._rotation = turned
        # One converter for all frames, since making it costs more than using it. In one thread: a pool of threads
        # slows small pictures down, and hangs a forked worker that frees the parent's.
        rgb = self._converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        rgb = np.rot90(rgb, -turned // 90) if turned else rgb
        if self._shape not in (None, rgb.shape):
            raise VideoDecodeError(self.path, "the frame size changes within the video")
        self._shape = rgb.shape
        return rgb


def clockwise(frame: VideoFrame) -> int:
    """The rotation to show a frame upright, degrees clockwise; FFmpeg counts anticlockwise."""
    return -round(frame.rotation / 90) * 90 % 360
