"""What `octvideo adapt` does: it reads videos, adapts, measures on those that were held out, and writes the result."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from octvideo.adaptation import Adaptation, Agreement, Budget, compare
from octvideo.adaptation.clips import Clips, hold_out, read_clips
from octvideo.adaptation.one_call import alphas_for
from octvideo.adaptation.report import write_adaptation
from octvideo.adaptation.settings import check_settings
from octvideo.adaptation.state import State
from octvideo.card import Card
from octvideo.cli import screen
from octvideo.cli.adapted import table, write_checkpoint
from octvideo.cli.errors import UsageError
from octvideo.data import VideoDecodeError
from octvideo.data.dataset import ClipSpec
from octvideo.data.manifest import find_videos
from octvideo.data.transforms import EvalTransform
from octvideo.heap import keep_freed_memory
from octvideo.models import open_weights
from octvideo.models.weights import read_weights

HELD_OUT = 0.25  # of the videos
NUM_CLIPS = 2  # along each video that is learnt from
NUM_CROPS = 3

# What may not change between two parts of an adaptation: of the options, and of the card.
_MADE_OF = ("alpha", "budget", "channel_multiple", "without", "batch_size", "lr", "seed")
_RECIPE = ("num_frames", "frame_stride", "fps", "test_short_side", "test_crop", "mean", "std")


def run(options: argparse.Namespace) -> int:
    """Adapts as the command line says; returns its exit code."""
    if options.device == "cpu":
        keep_freed_memory()
    network, card = dense_network(options)
    manifest = find_videos(options.videos, class_names=card.class_names)
    learnt, held_out = hold_out(manifest, HELD_OUT)
    settings = {name: getattr(options, name) for name in _MADE_OF}
    settings |= {"name": card.name, **{name: card.to_dict()[name] for name in _RECIPE}}
    state = State(
        options.out.with_name(f"{options.out.name}.part"),
        {**settings, "weights": str(Path(options.weights).absolute()), "videos": list(manifest.paths)},
    )
    network = network.to(options.device)

    def begin(layer_alphas: dict[str, float]) -> Adaptation:
        return Adaptation(
            network, options.alpha or 0.0, channel_multiple=options.channel_multiple, layer_alphas=layer_alphas,
            without=options.without, state=state,
        )  # fmt: skip

    # An alpha that the network cannot be split by is found before videos are decoded.
    adaptation = begin({}) if options.budget is None else None
    with _progress() as tell:

        def measure(octave: Any, dense: Any) -> Agreement:
            return compare(
                octave, dense, unseen, unseen.labels, progress=lambda done, of: tell("measuring", done / of)
            )

        def read(videos: list[int], num_clips: int, num_crops: int) -> Clips:
            transform = EvalTransform(card.test_short_side, card.test_crop, num_crops, card.mean, card.std)
            return read_clips(
                manifest, videos, ClipSpec.of(card), transform,
                num_clips=num_clips, num_workers=options.num_workers,
                progress=lambda done, of: tell("decoding", done / of),
            )  # fmt: skip

        clips, unseen = read(learnt, NUM_CLIPS, NUM_CROPS), read(held_out, 1, 1)
        _check_read(clips, unseen, len(manifest))
        check_settings(clips, options.without)
        if adaptation is None:
            adaptation = begin(
                alphas_for(
                    state, network, clips, options.budget, options.channel_multiple,
                    progress=lambda done, of: tell("stages", done / of),
                )
            )  # fmt: skip
        adaptation.run(
            clips, Budget(options.minutes, options.steps), measure=measure,
            progress=lambda p: tell(p.step, p.share, "" if p.loss is None else f"loss {p.loss:.3f}"),
            batch_size=options.batch_size, lr=options.lr, seed=options.seed,
        )  # fmt: skip
    _write(options, adaptation, card, settings, [*clips.errors, *unseen.errors])
    state.remove()
    return 0


def dense_network(options: argparse.Namespace) -> tuple[nn.Module, Card]:
    """The dense network of the command line, and its card with the options in it."""
    # A checkpoint of several alphas is adapted from its dense one, with the norm statistics of that.
    weights = read_weights(options.weights)
    alpha = 0.0 if 0.0 in weights.norms else None
    network, card, report = open_weights(
        options.weights, name=options.name, num_classes=options.num_classes, alpha=alpha
    )
    if card.is_octave:
        raise UsageError(f"{report.file} is of an octave network, allowed are dense weights: alpha 0")
    given = {key: getattr(options, key) for key in ("num_frames", "frame_stride", "fps")}
    if options.crop is not None:
        scaled = round(card.test_short_side * options.crop / card.test_crop)
        given |= {"test_crop": options.crop, "test_short_side": scaled}
    known = {key: value for key, value in given.items() if value is not None}
    return network, replace(card, **known, channel_multiple=options.channel_multiple, published=None)


Tell = Callable[..., None]  # the step, the share of it that is done, and a note


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar on the terminal, and what moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True, quiet=screen.is_quiet())) as progress:
        bar = progress.add_task("", total=1.0, note="")

        def tell(step: str, share: float, note: str = "") -> None:
            progress.update(bar, description=step, completed=share, note=note)

        yield tell


def _check_read(clips: Clips, unseen: Clips, num_videos: int) -> None:
    """Raises VideoDecodeError where so few videos can be read that there is nothing to do."""
    errors = [*clips.errors, *unseen.errors]
    if len(clips) < 2 or not len(unseen):
        raise VideoDecodeError(f"{len(errors)} of {num_videos} videos cannot be read, first {errors[0]}")


def _write(
    options: argparse.Namespace,
    adaptation: Adaptation,
    card: Card,
    settings: dict[str, Any],
    errors: list[str],
) -> None:
    """Writes the checkpoint with its page and numbers, and says so."""
    to = f"alpha {options.alpha:g}" if options.budget is None else f"{options.budget:g} of the dense time"
    title = f"{card.name} adapted to {to}"
    octave_card = replace(card, alpha=adaptation.alpha, layer_alphas=adaptation.layer_alphas)
    write_checkpoint(options.out, adaptation.octave.cpu(), octave_card)
    told = {
        **settings,
        "layer_alphas": adaptation.layer_alphas,
        "minutes": options.minutes,
        "steps": options.steps,
        "weights": options.weights,
    }
    written = write_adaptation(options.out, title, adaptation.measured, adaptation.fitted, told, errors)
    files = [path.resolve() for path in (options.out, *written)]
    if screen.wants_json():
        screen.write_json(
            {
                "files": list(map(str, files)),
                "layer_alphas": adaptation.layer_alphas,
                "measured": [asdict(one) for one in adaptation.measured],
                "unreadable": errors,
            }
        )
        return
    console = screen.results()
    for line in errors:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(table(title, adaptation.measured))
    for file in files:
        console.print(f"wrote {file}", soft_wrap=True, highlight=False, markup=False)
