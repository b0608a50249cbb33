"""README's pictures: `python -m benchmarks.pictures [RUN]`. Nothing here is timed or trained.

docs/images/octave.png: a frame in two frequencies, and time and accuracy against alpha, from benchmarks/results.
docs/images/demo.webp: a test video of every class, from the run of `make demo`, over what the network said of it there.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import skimage.data
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from octvideo.data.decode import open_video
from octvideo.files import replacing
from octvideo.viz import split_frequencies
from octvideo.viz._figure import BLUE, GREY, ORANGE, new_figure, picture, plain

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS, IMAGES = CHECKOUT / "benchmarks" / "results", CHECKOUT / "docs" / "images"
TIMES, EVIDENCE = RESULTS / "i3d_r50_cpu_inference_eager_compiled.json", RESULTS / "evidence.json"

# Of the moving picture: pixels of a tile, of the line below it, frames, and frames a second.
TILE, LINE, NUM_FRAMES, FPS = 160, 20, 24, 14


def first_screen(times: dict[str, Any], evidence: dict[str, Any]) -> Figure:
    """The idea and what it brings, side by side.

    Args:
        times: what `octvideo bench model i3d_r50 --task inference` wrote.
        evidence: what `python -m benchmarks.evidence` wrote.
    """
    figure = new_figure(10.4, 2.7)
    # A NASA photograph of Eileen Collins, in the public domain.
    frame = torch.from_numpy(skimage.data.astronaut()[::2, ::2].copy())
    low, high = split_frequencies(frame)
    parts = [
        (frame, "a frame ="),
        ((high * 2 + 128).clamp(0, 255).to(torch.uint8), "detail +"),
        (low.round().to(torch.uint8), "low, half the size"),
    ]
    panels = figure.subplots(1, 5, width_ratios=(2, 2, 1, 2, 2))
    for axes, (image, title) in zip(panels[:3], parts, strict=True):
        picture(axes, image, title)
        axes.set_anchor("N")
    draw_times(panels[3], times)
    draw_accuracy(panels[4], evidence)
    for axes in panels[3:]:
        axes.set_xlim(-0.03, 0.53)
        axes.set_xticks([0, 0.125, 0.25, 0.5], ["dense", "⅛", "¼", "½"])
        axes.tick_params(labelsize=8)
        axes.xaxis.label.set_fontsize(8)
        axes.title.set_fontsize(9)
    return figure


def draw_times(axes: Axes, report: dict[str, Any]) -> None:
    """Time and multiply-adds in percent of the dense network's; the bars are quartiles."""
    wanted = {"task": "inference", "mode": "eager", "precision": "fp32", "layer": "fast"}
    rows = [row for row in report["rows"] if all(row[key] == value for key, value in wanted.items())]
    alphas = [row["alpha"] for row in rows]
    axes.plot(alphas, [100 * row["flop_ratio"] for row in rows], ":", color=GREY, label="multiply-adds")
    middle, low, high = (
        np.array([100 * row["time_ratio"][key] for row in rows]) for key in ("median", "low", "high")
    )
    axes.errorbar(
        alphas, middle, (middle - low, high - middle), fmt="o-", color=BLUE, markersize=4, label="time"
    )
    plain(axes, "alpha, share of low channels", "", f"{report['model']}, % of dense")
    axes.set_ylim(0, 105)
    axes.legend(frameon=False, fontsize=8, loc="lower left")


def draw_accuracy(axes: Axes, report: dict[str, Any]) -> None:
    """Top-1 of trainings from scratch: a dot a seed, a line through the means."""
    runs = [r for r in report["runs"] if r["kind"] == "scratch" and r["epochs"] == report["epochs"]]
    alphas = sorted({run["alpha"] for run in runs})
    means = [100 * mean(run["top1"] for run in runs if run["alpha"] == alpha) for alpha in alphas]
    axes.plot(
        [run["alpha"] for run in runs],
        [100 * run["top1"] for run in runs],
        "o",
        color=ORANGE,
        alpha=0.4,
        markersize=4,
    )
    axes.plot(alphas, means, color=ORANGE)
    seeds = len({run["seed"] for run in runs})
    plain(axes, "alpha, share of low channels", "", f"demo's top-1, %, {seeds} seeds")
    axes.set_ylim(50, 100)


def one_a_class(predictions: Path) -> list[dict[str, str]]:
    """The first row of every class of a predictions.csv."""
    with predictions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        next(row for row in rows if row["label"] == label)
        for label in dict.fromkeys(r["label"] for r in rows)
    ]


def moving_picture(rows: Sequence[dict[str, str]], columns: int = 4) -> list[Image.Image]:
    """The videos side by side, with what was said of each below it."""
    tiles = [tile(row) for row in rows]
    lines = -(-len(rows) // columns)
    size = (columns * (TILE + 4) - 4, lines * (TILE + LINE))
    frames = []
    for moment in range(NUM_FRAMES):
        frame = Image.new("RGB", size, "white")
        for number, images in enumerate(tiles):
            frame.paste(images[moment], (number % columns * (TILE + 4), number // columns * (TILE + LINE)))
        frames.append(frame)
    return frames


def tile(row: dict[str, str]) -> list[Image.Image]:
    """A video's first frames, cut to a square, over its most probable class; the class it has, if that is another."""
    right = row["label"] == row["class_1"]
    said = f"{row['class_1']} {float(row['probability_1']):.0%}" + ("" if right else f" ({row['label']})")
    with open_video(row["path"]) as video:
        moments = np.arange(NUM_FRAMES) / FPS + video.pts_seconds[0]
        indices = np.searchsorted(video.pts_seconds, moments, side="right") - 1
        frames = video.frames_at(np.minimum(indices, video.num_frames - 1))
    images = []
    for frame in frames.numpy():
        image = Image.new("RGB", (TILE, TILE + LINE), "white")
        whole = Image.fromarray(frame)
        side, left, top = (
            min(whole.size),
            (whole.width - min(whole.size)) // 2,
            (whole.height - min(whole.size)) // 2,
        )
        square = whole.crop((left, top, left + side, top + side))
        image.paste(square.resize((TILE, TILE), Image.Resampling.BICUBIC))
        draw = ImageDraw.Draw(image)
        middle = (TILE / 2, TILE + LINE / 2 - 1)
        draw.text(middle, said, "black" if right else "firebrick", ImageFont.load_default(10), anchor="mm")
        images.append(image)
    return images


def main(argv: Sequence[str] | None = None) -> int:
    """Draws both; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pictures", description=__doc__.splitlines()[0]
    )
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/demo"), help="of `make demo`")
    arguments = parser.parse_args(argv)
    predictions = arguments.run / "predictions.csv"
    if not predictions.is_file():
        print(
            f"benchmarks.pictures: there is no {predictions.resolve()}: make demo writes it", file=sys.stderr
        )
        return 2
    still = first_screen(json.loads(TIMES.read_text()), json.loads(EVIDENCE.read_text()))
    with replacing(IMAGES / "octave.png") as file:
        still.savefig(file, dpi=130)
    first, *others = moving_picture(one_a_class(predictions))
    with replacing(IMAGES / "demo.webp") as file:
        first.save(
            file,
            save_all=True,
            append_images=others,
            duration=round(1000 / FPS),
            loop=0,
            quality=60,
            method=6,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
