"""What 30 views of a video cost beside reading it once: `python -m benchmarks.views [VIDEO …]`.

A round reads every frame of the video once (the decoder alone); then the frames of a test's 30 views, as a loader gives
them; and cuts these views, normalised floats, `--view_batch_size` at a time, as a network takes them. Medians over
rounds, and ratios within each round. The memory is that of a process of its own that reads and cuts.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from octvideo.data import KineticsDataModule, open_video
from octvideo.data.manifest import Manifest

CHUNK = 32  # frames decoded at a time where all are read


def synthetic(file: Path) -> Path:
    """10 s at 30 frames a second of moving texture, 340 x 256, as Kinetics copies are."""
    import av

    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 255, (40, 60, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        for i in range(300):
            top, left = 120 + int(100 * np.sin(i / 20)), i % 300
            frame = np.ascontiguousarray(canvas[top : top + 256, left : left + 340])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file


def read_all(path: str) -> float:
    """Seconds to decode every frame once."""
    start = time.perf_counter()
    with open_video(path) as video:
        for first in range(0, video.num_frames, CHUNK):
            video.frames_at(list(range(first, min(first + CHUNK, video.num_frames))))
    return time.perf_counter() - start


def data_module(path: str, num_frames: int, frame_stride: int) -> KineticsDataModule:
    data = KineticsDataModule(num_frames=num_frames, frame_stride=frame_stride, num_workers=0)
    data.manifests["test"] = Manifest("benchmark", (path,), (0,))
    return data


def make_views(path: str, num_frames: int, frame_stride: int, view_batch_size: int) -> tuple[float, float]:
    """Seconds to read the frames of a test's 30 views, and to cut these as a network takes them."""
    loader = data_module(path, num_frames, frame_stride).test_dataloader()
    start = time.perf_counter()
    (batch,) = loader
    (views,) = batch["views"]
    read = time.perf_counter()
    for _ in views.batches(view_batch_size):
        pass
    return read - start, time.perf_counter() - read


def memory_of(path: str, num_frames: int, frame_stride: int, view_batch_size: int) -> None:
    """Prints the growth of this process's memory by an evaluation without a network, in bytes (Linux)."""
    make_views(path, 1, 1, 1)  # libraries are there by now
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is in use
    before = peak_bytes()
    make_views(path, num_frames, frame_stride, view_batch_size)
    print(peak_bytes() - before)


def peak_bytes() -> int:
    """The largest resident set of this process since its peak was last reset."""
    (line,) = [
        text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith("VmHWM")
    ]
    return int(line.split()[1]) * 1024


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.views", description=__doc__)
    parser.add_argument("videos", nargs="*", help="files; without them one is rendered")
    parser.add_argument("--num_frames", type=int, default=8)
    parser.add_argument("--frame_stride", type=int, default=8)
    parser.add_argument("--view_batch_size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    torch.set_num_threads(1)
    if options.memory:
        memory_of(options.videos[0], options.num_frames, options.frame_stride, options.view_batch_size)
        return
    with tempfile.TemporaryDirectory() as folder:
        videos = options.videos or [str(synthetic(Path(folder) / "video.mp4"))]
        for path in videos:
            report(path, options)


def ratio(values: list[float]) -> str:
    low, middle, high = (float(np.quantile(values, q)) for q in (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def report(path: str, options: argparse.Namespace) -> None:
    clip = (options.num_frames, options.frame_stride)
    make_views(path, *clip, options.view_batch_size)
    rows = [
        (read_all(path), *make_views(path, *clip, options.view_batch_size)) for _ in range(options.rounds)
    ]
    decode, read, cut = (statistics.median(column) for column in zip(*rows, strict=True))
    reading = ratio([read / decode for decode, read, _ in rows])
    whole = ratio([(read + cut) / decode for decode, read, cut in rows])
    command = [sys.executable, "-m", "benchmarks.views", path, "--memory"]
    command += [
        f"--num_frames={clip[0]}",
        f"--frame_stride={clip[1]}",
        f"--view_batch_size={options.view_batch_size}",
    ]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e6
    with open_video(path) as video:
        frame = video.frames_at([0])
        decoded = frame.nbytes * video.num_frames / 1e6
    floats = options.view_batch_size * 3 * clip[0] * 256 * 256 * 4 / 1e6
    print(
        f"{Path(path).name}, {clip[0]}x{clip[1]}: all frames once {decode * 1e3:.0f} ms, "
        f"the frames of 30 views {read * 1e3:.0f} ms, ratio {reading}; cutting them {cut * 1e3:.0f} ms, ratio of both "
        f"{whole}; memory {grown:.0f} MB, of which {options.view_batch_size} views "
        f"as floats are {floats:.0f} MB; the decoded video is {decoded:.0f} MB"
    )


if __name__ == "__main__":
    main()
