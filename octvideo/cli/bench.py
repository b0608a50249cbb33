"""`octvideo bench model`, `octvideo bench decode` and `octvideo bench data`."""

import argparse
import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from octvideo.bench.choices import ALPHAS, MODES, PRECISIONS, TASKS
from octvideo.cli import screen
from octvideo.cli.errors import UsageError
from octvideo.cli.models_table import check_name
from octvideo.limits import check_layer_alphas, check_numbers
from octvideo.parser import Parser

USAGE = """\
usage: octvideo bench model NAME [options]      a network and its octave twins
       octvideo bench decode VIDEO ... [options]   the decoders, on one's own clips
       octvideo bench data VIDEO ... [options]   the training loader beside pytorchvideo's, on one's own clips

`octvideo bench model --help` and so on list the options.
"""


def bench_command(args: list[str]) -> int:
    """Runs one of the benchmarks."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if args else 2
    benchmarks = {"model": _model, "decode": _decode, "data": _data}
    if args[0] not in benchmarks:
        raise UsageError(f"unknown benchmark {args[0]!r}, allowed: {', '.join(benchmarks)}")
    return benchmarks[args[0]](args[1:])


def _decode(args: list[str]) -> int:
    parser = Parser(
        prog="octvideo bench decode",
        description="Decode the same random clips (8 frames at stride 8) with each decoder, one thread, interleaved.",
    )
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--device", choices=("cpu", "cuda"), nargs="+", default=["cpu"])
    parser.add_argument("--num_clips", type=int, default=20, help="clips a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(args)
    _check_numbers(options)
    _check_files(options.videos)

    from octvideo.bench.decoding import bench_decode

    console = screen.results()
    with Console(stderr=True, quiet=screen.is_quiet()).status("decoding"):
        rates = bench_decode(
            options.videos, num_clips=options.num_clips, rounds=options.rounds, devices=options.device
        )
    if screen.wants_json():
        screen.write_json([asdict(rate) for rate in rates])
    table = Table(title=f"{len(options.videos)} videos, {options.rounds} rounds", box=SIMPLE_HEAD)
    for column in ("decoder", "device", "clips/s", "(spread)", "to the first", "failed"):
        table.add_column(column, justify="left" if column in ("decoder", "device") else "right", no_wrap=True)
    for rate in rates:
        if rate.why_not:
            continue
        low, high = rate.spread
        table.add_row(
            rate.decoder, rate.device, f"{rate.clips_per_second:.1f}", f"({low:.1f}-{high:.1f})",
            f"{rate.ratio:.2f}", str(rate.num_failed),
        )  # fmt: skip
    console.print(table)
    for rate in rates:
        if rate.why_not:
            console.print(f"{rate.decoder} on {rate.device}: {rate.why_not}", markup=False, soft_wrap=True)
    if not any(rate.clips_per_second for rate in rates):
        raise UsageError(
            f"no decoder could read a clip of {Path(options.videos[0]).absolute()}{_and_more(options)}"
        )
    return 0


def _and_more(options: argparse.Namespace) -> str:
    return f" or of {len(options.videos) - 1} others" if len(options.videos) > 1 else ""


def _check_numbers(options: argparse.Namespace) -> None:
    """Raises InputError for an option outside its limits; those left out have defaults that fit."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    for alpha in given.pop("alpha", []):
        check_numbers({"alpha": alpha}, prefix="--")
    check_numbers(given, prefix="--")


def _check_files(videos: list[str]) -> None:
    missing = [video for video in videos if not Path(video).is_file()]
    if missing:
        raise UsageError(f"no video file {Path(missing[0]).absolute()}")


def _data(args: list[str]) -> int:
    parser = Parser(
        prog="octvideo bench data",
        description="Load training clips (8 frames at stride 8, short side 256 to 320, crop 224) with octvideo and "
        "with pytorchvideo, the same files and number of worker processes, interleaved.",
    )
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--num_workers", type=int, default=2, help="worker processes of each loader")
    parser.add_argument("--num_clips", type=int, default=48, help="clips a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for loading.json")
    options = parser.parse_args(args)
    _check_numbers(options)
    _check_files(options.videos)

    from octvideo.bench.loading import bench_loading, num_runs, write_json

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=screen.is_quiet()) as progress:
        bar = progress.add_task("bench", total=num_runs(options.rounds))
        report = bench_loading(
            options.videos, num_clips=options.num_clips, num_workers=options.num_workers, rounds=options.rounds,
            advance=lambda: progress.advance(bar),
        )  # fmt: skip
    if screen.wants_json():
        screen.write_json(asdict(report))
    title = f"{report.num_videos} videos, {report.num_workers} worker processes, {report.rounds} rounds"
    table = Table(title=title, box=SIMPLE_HEAD)
    table.add_column("training loader", no_wrap=True)
    for column in ("clips/s", "its time / octvideo's"):
        table.add_column(column, justify="right", no_wrap=True)
    for rate in report.rates:
        table.add_row(rate.name, f"{rate.clips_per_second:.1f}", str(rate.times))
    console = screen.results()
    console.print(table)
    console.print(f"octvideo's loader / decoding the same frames alone: {report.over_decoding}")
    console.print(f"decoding 10 test clips / decoding the whole video once: {report.views_over_once}")
    if options.out:
        path = options.out / "loading.json"
        write_json(path, asdict(report))
        console.print(f"wrote {path.resolve()}", soft_wrap=True, highlight=False)
    return 0


def _model(args: list[str]) -> int:
    parser = Parser(
        prog="octvideo bench model",
        description="Time a network and its octave twins side by side, interleaved, with calibrated norms.",
    )
    parser.add_argument("name", nargs="?", default="i3d_r50", help="a model of `octvideo models`")
    parser.add_argument(
        "--alpha",
        type=float,
        nargs="+",
        help="; ".join(f"on {device} {' '.join(map(str, few))} by default" for device, few in ALPHAS.items()),
    )
    parser.add_argument("--batch_size", type=int, default=1, help="clips")
    parser.add_argument("--num_frames", type=int, help="of a clip; the model's own by default")
    parser.add_argument("--crop", type=int, help="pixels; the model's own by default")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--task", choices=TASKS, nargs="+", default=["inference"])
    parser.add_argument(
        "--mode", choices=MODES, nargs="+", default=["eager"], help="graphs are CUDA's, on a GPU alone"
    )
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=["fp32"])
    parser.add_argument("--rounds", type=int, default=7, help="timed runs of each network")
    parser.add_argument(
        "--channel_multiple",
        type=int,
        default=1,
        help="round numbers of low channels to multiples of this (16 on CPUs)",
    )
    parser.add_argument(
        "--layer_alphas",
        type=_pattern_and_alpha,
        nargs="+",
        default=[],
        metavar="PATTERN=ALPHA",
        help="octave ratios of layers that have one of their own, by patterns of their paths; 0 keeps them dense",
    )
    parser.add_argument(
        "--profile", action="store_true", help="tell where the time goes, by kind of operation"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="time the layer as it is usually written too (ungrouped networks)",
    )
    parser.add_argument(
        "--engine",
        nargs="+",
        default=[],
        help="compute by these, side by side (octvideo doctor says what runs here); without, layers choose",
    )
    parser.add_argument("--out", type=Path, help="folder for the JSON and the PNG")
    options = parser.parse_args(args)
    check_name(options.name)
    _check_numbers(options)
    check_layer_alphas(dict(options.layer_alphas))
    graphs = [mode for mode in options.mode if mode.endswith("graphs")]
    if graphs and options.device == "cpu":
        raise UsageError(
            f"--mode is {graphs[0]} with --device cpu, where there are no CUDA graphs; allowed: cuda"
        )

    import torch

    from octvideo.bench.model import Setting, hush_torch, measure, networks
    from octvideo.bench.profile import name_compiled_kernels
    from octvideo.bench.written import report, write
    from octvideo.heap import keep_freed_memory

    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device is cuda, but torch sees no GPU here; allowed: cpu")
    setting = Setting(
        options.name, options.alpha or ALPHAS[options.device], options.batch_size, options.num_frames, options.crop,
        options.device, options.rounds, options.channel_multiple, dict(options.layer_alphas),
    )  # fmt: skip
    hush_torch()
    if options.device == "cpu":
        keep_freed_memory()
    else:
        torch.backends.cudnn.benchmark = True  # one shape all the time: let it look for its best kernels
    if options.profile:
        name_compiled_kernels()
    console = screen.results() if Console().is_terminal else Console(width=110, quiet=screen.wants_json())
    models = networks(setting)
    kinds = [(t, m, p) for t in options.task for m in options.mode for p in options.precision]
    rows, written = [], []
    layers = max(len(options.engine), 1) + options.plain
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=screen.is_quiet()) as progress:
        bar = progress.add_task("bench", total=len(kinds) * len(models) * layers * (options.rounds + 2))
        for task, mode, precision in kinds:
            progress.update(bar, description=f"{task}, {mode}, {precision}")
            rows += measure(
                setting, task=task, mode=mode, precision=precision, models=models, engines=options.engine,
                with_plain=options.plain, with_profile=options.profile, advance=lambda: progress.advance(bar),
            )  # fmt: skip
            if options.out:  # after each: a run that is cut keeps what it has measured
                written = write(options.out, setting, rows, [*options.task, *options.mode])
    if screen.wants_json():
        screen.write_json(report(setting, rows))
    shape = "x".join(map(str, setting.shape))
    title = f"{setting.name}, {shape}, {options.device}, {options.rounds} rounds"
    if options.channel_multiple > 1:
        title += f", low channels in multiples of {options.channel_multiple}"
    title += "".join(f", {pattern} at {alpha:g}" for pattern, alpha in options.layer_alphas)
    table = Table(title=title, box=SIMPLE_HEAD)
    for column in ("", "alpha", "ms", "time", "FLOPs", "memory", "first call, s"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            ", ".join((row.task, row.mode, row.precision, *_layer(row.layer))),
            f"{row.alpha:g}",
            f"{1000 * row.seconds:.0f}",
            str(row.time_ratio),
            f"{row.flop_ratio:.2f}",
            "" if row.memory_ratio is None else f"{row.memory_ratio:.2f}",
            f"{row.first_seconds:.1f}",
        )
    console.print(table)
    console.print(
        "time, FLOPs and memory as ratios to the dense network (alpha 0), run the same way in the same rounds"
    )
    if options.profile:
        for kind, layer in itertools.product(kinds, (*(options.engine or ["fast"]), "plain")):
            own = [row for row in rows if (row.task, row.mode, row.precision, row.layer) == (*kind, layer)]
            if own:
                console.print(_profile_table(own))
    for path in written:
        console.print(f"wrote {path.resolve()}", soft_wrap=True, highlight=False)
    return 0


def _pattern_and_alpha(text: str) -> tuple[str, float]:
    pattern, _, alpha = text.rpartition("=")
    try:
        return pattern, float(alpha)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}, allowed is a pattern and a number, blocks.2.*=0"
        ) from None


def _layer(name: str) -> list[str]:
    """How a row of results names its layers; nothing for those that choose by themselves."""
    return {"fast": [], "plain": ["plain layer"]}.get(name, [f"engine {name}"])


def _profile_table(rows: list[Any]) -> Table:
    """Milliseconds by kind of operation, a column a network."""
    setting = ", ".join((rows[0].task, rows[0].mode, rows[0].precision))
    setting = ", ".join((setting, *_layer(rows[0].layer)))
    table = Table(title=f"{setting}: ms under the profiler", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_column(f"alpha {row.alpha:g}", justify="right", no_wrap=True)
    for kind in rows[0].profile:
        if any(row.profile[kind] > 0 for row in rows):
            table.add_row(kind, *(f"{1000 * row.profile[kind]:.1f}" for row in rows))
    table.add_row("all", *(f"{1000 * sum(row.profile.values()):.1f}" for row in rows))
    return table
