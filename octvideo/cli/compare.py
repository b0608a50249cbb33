"""`octvideo compare RUN RUN …`: the results of several tests in one table."""

from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from octvideo.cli import screen
from octvideo.parser import Parser


def compare_command(args: list[str]) -> int:
    """Prints a row a run, with the difference to the first one."""
    parser = Parser(prog="octvideo compare")
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders that octvideo test has written to"
    )
    options = parser.parse_args(args)

    from octvideo.evaluation.compare import difference, read_run
    from octvideo.text import shown

    runs = [read_run(folder) for folder in options.runs]
    if screen.wants_json():
        differences = [None, *(difference(run, runs[0]) for run in runs[1:])]
        screen.write_json(
            [
                {"run": name, **run.metrics, "difference": found and asdict(found)}
                for name, run, found in zip(options.runs, runs, differences, strict=True)
            ]
        )
        return 0
    base = escape(shown(options.runs[0]))
    caption = f"95 % intervals: paired bootstrap over the videos that a run shares with {base}"
    table = Table(box=SIMPLE_HEAD, title="test results", caption=caption if len(runs) > 1 else None)
    table.add_column("run", overflow="fold", min_width=10)
    table.add_column("model, alpha", overflow="fold", min_width=10)
    columns = ["top-1", "top-5", "GFLOPs", "videos x views"]
    for column in [*columns, "difference"] if len(runs) > 1 else columns:
        table.add_column(column, justify="right", min_width=6)
    for index, (name, run) in enumerate(zip(options.runs, runs, strict=True)):
        metrics = run.metrics
        cells = [
            escape(shown(name)),
            escape(shown(f"{metrics.get('name', '')}, {metrics.get('alpha', 0):g}")),
            *(f"{metrics[key]:.2%}" if metrics.get(key) is not None else "-" for key in ("top1", "top5")),
            f"{metrics['gflops']:.3g}" if "gflops" in metrics else "-",
            f"{metrics['videos_scored']}/{metrics['videos_listed']} x {metrics['num_views']}",
        ]
        if len(runs) > 1 and index:
            found = difference(run, runs[0])
            if found is None:
                cells.append("no common video")
            else:
                text = f"{100 * found.value:+.2f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
                shared = found.num_videos != metrics["videos_scored"]
                cells.append(f"{text} on {found.num_videos}" if shared else text)
        table.add_row(*cells)
    screen.results().print(table)
    return 0
