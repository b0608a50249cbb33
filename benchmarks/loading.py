"""The training loader beside pytorchvideo's, and what a key frame interval costs and brings.

    python -m benchmarks.loading --out benchmarks/results

Makes videos with ffmpeg (340x256, 30 fps, 10 s, H.264 as x264 writes it, a key frame every 250 frames), re-encodes
them with `data_prep.resize` at several key frame intervals, and times loading from all of them. Writes loading.json
and loading.png. VIDEOS are taken too, if given. Needs ffmpeg and about 40 MB below the folder --work.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from data_prep.resize import DEFAULT_INTERVAL, resize_file
from octvideo.bench.loading import bench_loading, num_runs, training_epoch, write_json
from octvideo.errors import InputError
from octvideo.files import replacing
from octvideo.timing import interleave, ratio

INTERVALS = (4, 8, 16, 32, 64, 250)


def make_videos(folder: Path, count: int) -> list[Path]:
    """Synthetic videos: a test picture over a zooming, noisy fractal, swaying."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"synthetic{number}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        if path.exists():
            continue
        picture = (
            f"[1:v]noise=alls=8:allf=t:all_seed={number}[n];[0:v][n]blend=all_mode=average:shortest=1,"
            f"rotate=a='0.15*sin(2*t+{number})':c=gray"
        )
        size = "size=340x256:rate=30"
        command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2={size}:duration=10"]
        command += ["-f", "lavfi", "-i", f"mandelbrot={size}:start_scale={number + 1}"]
        command += ["-filter_complex", picture, "-t", "10", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
        with replacing(path) as temporary:
            subprocess.run([*command, "-g", "250", "-threads", "2", str(temporary)], check=True)
    return paths


def resized(sources: Sequence[Path], folder: Path, interval: int) -> list[str]:
    """The sources re-encoded with a key frame every `interval` frames."""
    made = []
    for source in sources:
        out = folder / f"every{interval}" / f"{source.stem}.mp4"
        if not out.exists():
            result = resize_file(str(source), str(out), keyframe_interval=interval)
            if result["status"] != "ok":
                raise InputError(f"{source.absolute()}: {result['reason']}")
        made.append(str(out))
    return made


def plot(report: dict[str, Any]) -> Figure:
    """Left: each loader's time over ours; right: clips a second against the size, for each key frame interval."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [rate["name"].replace(", ", "\n") for rate in report["resized"]["rates"]]
    for number, kind in enumerate(("as_they_come", "resized")):
        times = [rate["times"] for rate in report[kind]["rates"]]
        middle = [time["median"] for time in times]
        spread = [[t["median"] - t["low"] for t in times], [t["high"] - t["median"] for t in times]]
        places = [place + 0.4 * number for place in range(len(times))]
        left.bar(places, middle, 0.38, yerr=spread, capsize=4, label=kind.replace("_", " "))
    left.set_xticks([place + 0.2 for place in range(len(names))], names)
    left.set(
        ylabel="time / octvideo's", title=f"training loaders, {report['resized']['num_workers']} workers"
    )
    left.legend(loc="upper left")
    points = report["intervals"]
    right.plot([p["kilobytes"] for p in points], [p["clips_per_second"] for p in points], marker="o")
    for point in points:
        right.annotate(f" {point['interval']}", (point["kilobytes"], point["clips_per_second"]), va="bottom")
    right.set(xlabel="kB a video", ylabel="clips/s", title="octvideo, by frames from key frame to key frame")
    right.set_ylim(0, 1.12 * max(point["clips_per_second"] for point in points))
    return figure


def print_report(report: dict[str, Any]) -> None:
    """Both tables."""
    console = Console()
    table = Table("training loader", "as they come, clips/s", "times", "resized, clips/s", "times")
    for come, small in zip(report["as_they_come"]["rates"], report["resized"]["rates"], strict=True):
        cells = [
            cell
            for rate in (come, small)
            for cell in (
                f"{rate['clips_per_second']:.1f}",
                "{median:.2f} ({low:.2f}-{high:.2f})".format(**rate["times"]),
            )
        ]
        table.add_row(come["name"], *cells)
    for name in ("over_decoding", "views_over_once"):
        ratios = [
            "{median:.2f} ({low:.2f}-{high:.2f})".format(**report[kind][name])
            for kind in ("as_they_come", "resized")
        ]
        table.add_row(name, "", ratios[0], "", ratios[1])
    console.print(table)
    table = Table("key frame every", "kB a video", "clips/s")
    for point in report["intervals"]:
        table.add_row(str(point["interval"]), f"{point['kilobytes']:.0f}", f"{point['clips_per_second']:.1f}")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loading", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("videos", type=Path, nargs="*", help="videos to take besides the synthetic ones")
    parser.add_argument("--num-synthetic", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-clips", type=int, default=48, help="clips a round")
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/loading"), help="folder for the videos")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    if shutil.which("ffmpeg") is None:
        print("python -m benchmarks.loading: ffmpeg is not there; it makes the videos", file=sys.stderr)
        return 1
    sources = [*make_videos(options.work / "come", options.num_synthetic), *options.videos]
    sets = {interval: resized(sources, options.work, interval) for interval in INTERVALS}
    how: dict[str, Any] = {name: getattr(options, name) for name in ("rounds", "num_clips", "num_workers")}
    with Progress(console=Console(stderr=True)) as progress:
        total = 2 * num_runs(options.rounds) + (options.rounds + 1) * len(INTERVALS)
        bar = progress.add_task("loading", total=total)
        how["advance"] = lambda: progress.advance(bar)
        come = bench_loading([str(source) for source in sources], **how)
        small = bench_loading(sets[DEFAULT_INTERVAL], **how)
        runs = {
            str(interval): training_epoch(
                [paths[number % len(paths)] for number in range(options.num_clips)], options.num_workers
            )
            for interval, paths in sets.items()
        }
        timings = interleave(runs, rounds=options.rounds, advance=how["advance"])
    parts = {
        "as_they_come": asdict(come),
        "resized": {"interval": DEFAULT_INTERVAL, **asdict(small)},
        "intervals": [
            {
                "interval": interval,
                "kilobytes": round(sum(os.path.getsize(path) for path in paths) / len(paths) / 1000, 1),
                "clips_per_second": options.num_clips / timings[str(interval)].median,
                "time": asdict(ratio(timings[str(interval)], timings[str(DEFAULT_INTERVAL)])),
            }
            for interval, paths in sets.items()
        ],
    }
    write_json(options.out / "loading.json", parts)
    plot(parts).savefig(options.out / "loading.png", dpi=110)
    print_report(parts)
    print(f"wrote {(options.out / 'loading.json').absolute()} and loading.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
