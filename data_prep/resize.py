"""Re-encodes a collection for training: `python -m data_prep.resize`.

    python -m data_prep.resize /data/kinetics400 /data/kinetics400_256 --short-side 256 --jobs 16

Smaller frames decode faster, and frequent key frames let a random clip start near where it is. Between them, seven
of eight frames are B-frames that nothing refers to, and `octvideo.data.decode` passes over those that a clip does
not take: benchmarks/README.md shows sizes and speeds. Output is H.264 in MP4, upright, without sound, of even
width and height, with closed groups of pictures, under the same relative name. Files are written under a
temporary name and moved; a second run does only what is new.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from octvideo.data.decode import PyAVReader, VideoDecodeError, whole_frames
from octvideo.data.manifest import find_videos
from octvideo.errors import InputError
from octvideo.files import replace_file, replacing
from octvideo.limits import Limits, check_numbers
from octvideo.parser import Parser
from octvideo.text import shown

from . import _jobs
from ._command import exit_status, program

# Milliseconds would drift from frame times such as 1001/30000 s; this is MPEG's clock.
_TICKS = 90_000

# Frames from one key frame to the next; benchmarks/README.md shows what others cost and bring.
DEFAULT_INTERVAL = 32

LIMITS = {
    "short_side": Limits(2, 4096, whole=True),
    "keyframe_interval": Limits(2, 10_000, whole=True),
    "crf": Limits(0, 51, whole=True),
    "fps": Limits(0.1, 1000, or_none=True),
}
PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)

# Seven of eight frames are B-frames that nothing refers to: `octvideo.data.decode` leaves out those that a clip
# does not take.
_X264 = "open-gop=0:scenecut=0:bframes=7:b-adapt=0:b-pyramid=none"


def resize_file(
    path: str,
    out: str,
    short_side: int = 256,
    keyframe_interval: int = DEFAULT_INTERVAL,
    crf: int = 20,
    preset: str = "veryfast",
    fps: float | None = None,
) -> dict[str, Any]:
    """Re-encodes one file.

    Args:
        path: the video.
        out: the MP4 file to write.
        short_side: pixels; a smaller video keeps its size.
        keyframe_interval: frames from one key frame to the next.
        crf: x264's quality, 0 (lossless) to 51.
        preset: x264's speed.
        fps: frames a second; None keeps the frames and their times, variable ones too.

    Returns:
        `{"status": "ok", "num_frames", "bytes_before", "bytes"}`, or `{"status": "unreadable" | "failed", "reason"}`.
    """
    try:
        with replacing(out, shared=True) as temporary, PyAVReader(path) as reader:
            num_frames = _encode(reader, temporary, short_side, keyframe_interval, crf, preset, fps)
    except VideoDecodeError as error:
        return {"status": "unreadable", "reason": error.reason}
    except (av.FFmpegError, OSError) as error:  # the encoder's, a full disk's
        return {"status": "failed", "reason": str(error)}
    sizes = {"bytes_before": os.path.getsize(path), "bytes": os.path.getsize(out)}
    return {"status": "ok", "num_frames": num_frames, **sizes}


def _encode(
    reader: PyAVReader, out: Path, short_side: int, interval: int, crf: int, preset: str, fps: float | None
) -> int:
    count = 0
    with av.open(str(out), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps or reader.fps).limit_denominator(1001))
        options = {"crf": str(crf), "preset": preset, "g": str(interval), "keyint_min": "1"}
        stream.options = {**options, "x264-params": _X264}
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # files run side by side
        stream.codec_context.time_base = Fraction(1, _TICKS)
        before = -1
        for seconds, picture in _pictures(reader, short_side, fps):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if count == 0:
                stream.height, stream.width = picture.shape[:2]
            # Two frames on one tick, as odd files have, would stop the encoder.
            frame.pts = before = max(round(seconds * _TICKS), before + 1)
            frame.time_base = Fraction(1, _TICKS)
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
    return count


def _pictures(reader: PyAVReader, short_side: int, fps: float | None) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds from the first frame, upright scaled picture `uint8 (h, w, 3)`) of each frame to write."""
    times = reader.pts_seconds - reader.pts_seconds[0]
    turns = reader.rotation // 90
    written = 0
    for index, frame in enumerate(whole_frames(reader)):
        if fps is None:
            moments = [float(times[index])]
        else:  # the frame on show at each moment k / fps
            last = index + 1 == len(times)
            until = times[index + 1] if not last else times[index] + 0.5 / fps
            moments = []
            while written / fps < until - 1e-3:
                moments.append(written / fps)
                written += 1
        if not moments:
            continue
        height, width = even_size(frame.height, frame.width, short_side)
        rgb = frame.reformat(
            width=width, height=height, format="rgb24", interpolation="BICUBIC", threads=1
        ).to_ndarray()
        picture = np.ascontiguousarray(np.rot90(rgb, -turns))
        for moment in moments:
            yield moment, picture


def even_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with the short side at most `short_side`, the ratio kept, both even and at least 2.

    >>> even_size(720, 1280, 256)
    (256, 454)
    >>> even_size(121, 161, 256)
    (120, 160)
    """
    scale = min(1.0, short_side / min(height, width))
    high, wide = (max(2, 2 * int(side * scale / 2 + 1e-6)) for side in (height, width))
    return high, wide


def resize(
    paths: Sequence[str], source: Path, out: Path, *, settings: dict[str, Any], **how: Any
) -> dict[str, dict[str, Any]]:
    """Re-encodes many files into `out`, with the names that they have below `source`."""
    items: dict[str, dict[str, Any]] = {}
    writers: dict[str, str] = {}
    for path in paths:
        to = str((out / os.path.relpath(path, source)).with_suffix(".mp4").absolute())
        if to in writers:
            raise InputError(f"{path} and {writers[to]} would both become {to}")
        if to == path:
            raise InputError(f"{path} would be overwritten; allowed is another folder")
        writers[to] = path
        items[path] = {"path": path, "out": to, **settings}
    journal = out / "resize.jsonl"
    if journal.exists():
        _forget_deleted(journal)
    return _jobs.run("resize", items, journal, **how)


def _forget_deleted(journal: Path) -> None:
    """Drops results whose output is not there any more, so that it is made again."""
    entries = ((line, _jobs.parse(line)) for line in journal.read_text(encoding="utf-8").splitlines())
    kept = [
        line
        for line, entry in entries
        if entry and (entry["result"]["status"] != "ok" or os.path.exists(entry["asked"][1]["out"]))
    ]
    replace_file(journal, lambda file: file.writelines(f"{line}\n" for line in kept))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog=program("resize"), description=__doc__.split("\n\n")[0])
    parser.add_argument("source", type=Path, help="folder of videos, searched through")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--short-side", type=int, default=256, help="pixels (default: 256)")
    parser.add_argument(
        "--keyframe-interval",
        type=int,
        default=DEFAULT_INTERVAL,
        help="frames a key frame (default: %(default)s)",
    )
    parser.add_argument("--crf", type=int, default=20, help="x264's quality, 0 best to 51 (default: 20)")
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="veryfast",
        help="x264's speed (default: veryfast)",
        metavar="PRESET",
    )
    parser.add_argument("--fps", type=float, help="frames a second (default: those of each file)")
    _jobs.add_arguments(parser)
    return exit_status("resize", lambda: _resize(parser.parse_args(arguments)))


def _resize(options: argparse.Namespace) -> None:
    names = ("short_side", "keyframe_interval", "crf", "preset", "fps")
    settings = {name: getattr(options, name) for name in names}
    check_numbers(settings, limits=LIMITS)
    source = options.source.absolute()
    paths = find_videos(source).paths
    results = resize(paths, source, options.out, settings=settings, **_jobs.chosen(options))
    good = [result for result in results.values() if result["status"] == "ok"]
    before, after = (sum(result[name] for result in good) / 2**20 for name in ("bytes_before", "bytes"))
    print(
        f"{len(good)} of {len(results)} files, {before:.1f} MiB became {after:.1f} MiB: {shown(options.out.absolute())}"
    )
    for path, result in results.items():
        if result["status"] != "ok":
            print(shown(f"{path}: {result['reason']}"))
    if not good:
        raise InputError(f"none of the {len(results)} files below {source} could be re-encoded")


if __name__ == "__main__":
    sys.exit(main())
