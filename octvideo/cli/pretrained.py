"""`octvideo weights [NAME]`: the weights that can be had by name, and getting them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from octvideo.cli import screen
from octvideo.cli.errors import UsageError
from octvideo.cli.models_table import model_names
from octvideo.parser import Parser

CAPTION = """\
top-1 on Kinetics-400 of the dense network, as published; octvideo weights --json has the addresses
octvideo weights NAME gets them; octvideo predict NAME VIDEO … takes them, as everything that takes a checkpoint does"""


def weights_command(args: list[str]) -> int:
    """Prints the list, or fetches the weights of a name and prints where they are."""
    parser = Parser(
        prog="octvideo weights",
        description="Lists the weights that can be had by name, or gets those of NAME.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="of the list")
    options = parser.parse_args(args)

    if options.name not in (None, *model_names()):
        raise UsageError(f"weights are {options.name!r}, allowed are those that octvideo weights lists")

    from octvideo.models.pretrained import fetch

    if options.name is None:
        _list()
        return 0
    with _bar(options.name) as progress:
        file = fetch(options.name, progress)
    if screen.wants_json():
        screen.write_json({"file": str(file)})
    else:
        print(file)
    return 0


@contextmanager
def _bar(name: str) -> Iterator:
    console = Console(stderr=True)
    if (
        not console.is_terminal or screen.is_quiet()
    ):  # a bar that is switched off leaves an empty line in rich 14.0 and before
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _list() -> None:
    from octvideo.models import MODELS
    from octvideo.models.pretrained import sources
    from octvideo.models.weights import weights_file

    rows: dict[str, dict[str, Any]] = {
        name: {
            "of": published.source if (published := MODELS[name].published) else None,
            "licence": source.licence,
            "address": source.address,
            "megabytes": source.megabytes,
            "top1": published.top1 if published else None,
            "file": str(weights_file(name)) if weights_file(name).is_file() else None,
        }
        for name, source in sources().items()
    }
    if screen.wants_json():
        screen.write_json(rows)
        return
    table = Table(box=SIMPLE_HEAD, caption=CAPTION, caption_justify="left")
    table.add_column("weights", no_wrap=True)
    for column in ("of", "licence"):
        table.add_column(column, overflow="fold")
    for column in ("MB", "top-1", "here"):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(
            name,
            row["of"] or "",
            row["licence"],
            str(row["megabytes"] or "-"),
            "-" if row["top1"] is None else f"{row['top1']:.1f}",
            "yes" if row["file"] else "no",
        )
    Console().print(table)
