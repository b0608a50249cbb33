"""`octvideo models`: what there is, and what it costs."""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from octvideo.cli import screen
from octvideo.errors import InputError
from octvideo.limits import check_numbers
from octvideo.parser import Parser

STORED = Path(__file__).parents[1] / "models" / "figures.json"  # by octvideo.models.figures
CAPTION = """\
clip: frames x stride @ crop, at 30 frames a second, * at 15
the parameters are the same at every alpha
published: top-1 / top-5 on Kinetics-400 of the dense weights by pytorchvideo \
with 10 x 3 views (i3d_nl_r50: by PySlowFast, in its zoo's Caffe2 file)
* by torchvision with 5 x 1, of s3d with 1 x 1, and with other frames and pixels: `octvideo test` says which"""


@cache
def figures() -> dict[str, dict[str, Any]]:
    """The networks by name, with what is known of them without building any."""
    found: dict[str, dict[str, Any]] = json.loads(STORED.read_text(encoding="utf-8"))
    return found


def model_names() -> list[str]:
    """What a network may be called: those of `octvideo models`, and those that this process has registered.

    A program that calls `register_model` and then `octvideo.cli.main` has imported the table already.
    """
    table = sys.modules.get("octvideo.models.table")
    return list(figures()) if table is None else list(table.MODELS)


def check_name(name: str) -> None:
    """Raises InputError for a network that there is not."""
    if name not in model_names():
        raise InputError(
            f"model is {name!r}; it must be one of {', '.join(model_names())}, or one that your own program has "
            "registered (register_model) before it calls octvideo.cli.main"
        )


def models_command(args: list[str]) -> int:
    """Prints the model table; `--alpha` and `--num_classes` choose others than the stored figures, and count."""
    parser = Parser(prog="octvideo models")
    parser.add_argument("--alpha", type=float, nargs="+", help="octave ratios, 0 to below 1")
    parser.add_argument("--num_classes", type=int, default=400)
    options = parser.parse_args(args)
    for alpha in options.alpha or ():
        check_numbers({"alpha": alpha}, prefix="--")
    check_numbers({"num_classes": options.num_classes}, prefix="--")

    rows = figures()
    stored = next(iter(rows.values()))["gflops"]
    alphas = [f"{alpha:g}" for alpha in options.alpha] if options.alpha else list(stored)
    names = model_names()
    if options.num_classes != 400 or not set(alphas) <= set(stored):
        rows = _counted(names, tuple(map(float, alphas)), options.num_classes)
    elif own := [name for name in names if name not in rows]:
        rows = rows | _counted(own, tuple(map(float, stored)), 400)
    if screen.wants_json():
        screen.write_json(rows)
        return 0
    table = Table(
        title="GFLOPs (multiply-adds, 1e9) of one clip at each alpha",
        caption=CAPTION,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", no_wrap=True)
    for column in ("clip", "params", *alphas, "published"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in rows.items():
        published = row["published"]
        table.add_row(
            name,
            f"{row['num_frames']}x{row['frame_stride']}{'*' if row['fps'] == 15 else ''} @ {row['crop']}",
            f"{row['parameters'] / 1e6:.2f} M",
            *(f"{row['gflops'][alpha]:.3g}" for alpha in alphas),
            f"{published['top1']:.1f}/{published['top5']:.1f}" if published else "-",
        )
    screen.results().print(table)
    return 0


def _counted(names: list[str], alphas: tuple[float, ...], num_classes: int) -> dict[str, dict[str, Any]]:
    from octvideo.models.figures import figures_of

    progress = track(
        names, "counting", console=Console(stderr=True), transient=True, disable=screen.is_quiet()
    )
    return {name: figures_of(name, alphas, num_classes) for name in progress}
