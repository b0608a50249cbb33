"""`octvideo adapt WEIGHTS --alpha A --videos FOLDER --out FILE`: dense weights to an octave checkpoint, no labels."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from octvideo.cli.errors import UsageError
from octvideo.data import VideoDecodeError
from octvideo.limits import LIMITS, check_numbers

HELD_OUT = 0.25  # of the videos
NUM_CLIPS = 2  # along each video that is learnt from
NUM_CROPS = 3


def adapt_command(args: list[str]) -> int:
    """Adapts, measures before and after each step on videos that were held out, and writes what was found."""
    from octvideo.adaptation import STEPS

    parser = argparse.ArgumentParser(
        prog="octvideo adapt",
        exit_on_error=False,
        description="Turns dense weights into an octave checkpoint with unlabelled videos: chooses the low channels, "
        "fits each layer to the dense one, brings features and logits together. One video in four is held out, to "
        "measure on. A stopped run goes on from OUT.part.",
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="of octvideo fit, or another project's")
    ratio = parser.add_mutually_exclusive_group(required=True)
    ratio.add_argument("--alpha", type=float, help="octave ratio, above 0 and below 1")
    ratio.add_argument(
        "--budget",
        type=float,
        help="share of the dense network's time: each stage gets the alpha that loses least",
    )
    parser.add_argument("--videos", nargs="+", required=True, help="videos, folders of them, manifests")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint; the report goes beside it")
    parser.add_argument("--minutes", type=float, default=10.0, help="for bringing features together")
    parser.add_argument("--steps", type=int, help="and at most so many steps for it")
    parser.add_argument("--without", choices=STEPS, nargs="+", default=[], help="steps to leave out")
    parser.add_argument("--model.name", dest="name", help="the network, where WEIGHTS does not say it")
    parser.add_argument(
        "--model.num_classes", dest="num_classes", type=int, help="400 where WEIGHTS does not say"
    )
    parser.add_argument("--model.channel_multiple", dest="channel_multiple", type=int, default=1)
    parser.add_argument("--num_frames", type=int, help="of a clip; the card's by default")
    parser.add_argument("--frame_stride", type=int, help="the card's by default")
    parser.add_argument("--fps", type=float, help="that the stride counts in; the card's by default")
    parser.add_argument(
        "--crop", type=int, help="height and width of a clip; the card's test_crop by default"
    )
    parser.add_argument("--batch_size", type=int, default=4, help="clips of a step")
    parser.add_argument("--lr", type=float, default=1e-4, help="of Adam, at its peak")
    parser.add_argument("--seed", type=int, default=0, help="of the clips' order")
    parser.add_argument("--num_workers", type=int, help="decoding processes; one a core by default")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args(args)
    _check(options)
    return _run(options)


def _check(options: argparse.Namespace) -> None:
    from octvideo.adaptation.adapt import SETTINGS

    given = {name: value for name, value in vars(options).items() if value is not None}
    check_numbers(given, prefix="--", limits={**LIMITS, **SETTINGS, "alpha": SETTINGS["budget"]})
    if options.out.exists():
        raise UsageError(f"--out is {options.out.absolute()}, which exists: remove it or name another")
    if options.out.suffix != ".ckpt":
        raise UsageError(f"--out is {options.out}, allowed is a name that ends in .ckpt")
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--device is cuda, but torch sees no GPU here; allowed: cpu")


def _run(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from octvideo.adaptation import Adaptation, Agreement, Budget, compare
    from octvideo.adaptation.adapt import alphas_for, check_settings
    from octvideo.adaptation.clips import Clips, hold_out, read_clips
    from octvideo.adaptation.report import write_adaptation
    from octvideo.adaptation.state import State
    from octvideo.data.dataset import ClipSpec
    from octvideo.data.manifest import find_videos
    from octvideo.data.transforms import EvalTransform
    from octvideo.heap import keep_freed_memory

    if options.device == "cpu":
        keep_freed_memory()
    network, card = _dense(options)
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
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=1.0, note="")

        def tell(step: str, share: float, note: str = "") -> None:
            progress.update(bar, description=step, completed=share, note=note)

        def read(videos: list[int], num_clips: int, num_crops: int) -> Clips:
            transform = EvalTransform(card.test_short_side, card.test_crop, num_crops, card.mean, card.std)
            spec = ClipSpec.of(card)
            return read_clips(
                manifest, videos, spec, transform, num_clips=num_clips, num_workers=options.num_workers,
                progress=lambda done, of: tell("decoding", done / of),
            )  # fmt: skip

        def measure(octave: Any, dense: Any) -> Agreement:
            return compare(
                octave, dense, unseen, unseen.labels, progress=lambda done, of: tell("measuring", done / of)
            )

        clips, unseen = read(learnt, NUM_CLIPS, NUM_CROPS), read(held_out, 1, 1)
        errors = [*clips.errors, *unseen.errors]
        if len(clips) < 2 or not len(unseen):
            raise VideoDecodeError(
                f"{len(errors)} of {len(manifest)} videos cannot be read, first {errors[0]}"
            )
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
    to = f"alpha {options.alpha:g}" if options.budget is None else f"{options.budget:g} of the dense time"
    title = f"{card.name} adapted to {to}"
    octave_card = replace(card, alpha=adaptation.alpha, layer_alphas=adaptation.layer_alphas)
    _write_checkpoint(options.out, adaptation.octave.cpu(), octave_card)
    told = {
        **settings,
        "layer_alphas": adaptation.layer_alphas,
        "minutes": options.minutes,
        "steps": options.steps,
        "weights": options.weights,
    }
    written = write_adaptation(options.out, title, adaptation.measured, adaptation.fitted, told, errors)
    state.remove()
    for line in errors:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(_table(title, adaptation.measured))
    for path in (options.out, *written):
        console.print(f"wrote {path.resolve()}", soft_wrap=True, highlight=False, markup=False)
    return 0


# What may not change between two parts of an adaptation: of the options, and of the card.
_MADE_OF = ("alpha", "budget", "channel_multiple", "without", "batch_size", "lr", "seed")
_RECIPE = ("num_frames", "frame_stride", "fps", "test_short_side", "test_crop", "mean", "std")


def _dense(options: argparse.Namespace) -> tuple[Any, Any]:
    """The dense network of the command line, and its card with the options in it."""
    from octvideo.models import open_weights
    from octvideo.models.weights import read_weights

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


def _write_checkpoint(out: Path, network: Any, card: Any) -> None:
    """The network as `octvideo fit` would have written it."""
    import lightning
    import torch

    from octvideo.classifier import VideoClassifier
    from octvideo.files import replacing

    classifier = VideoClassifier(**card.network)
    classifier.network.load_state_dict(network.state_dict())
    classifier.card = card
    content = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": classifier.state_dict(),
        "hyper_parameters": dict(classifier.hparams),
    }
    classifier.on_save_checkpoint(content)
    with replacing(out) as temporary:
        torch.save(content, temporary)


def _table(title: str, measured: list[Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from octvideo.adaptation.report import COLUMNS, rows

    table = Table(title=f"{title}: on {measured[-1].agreement.num_clips} clips not used", box=SIMPLE_HEAD)
    cells = rows(measured)
    shown = [i for i in range(len(COLUMNS)) if any(row[i] for row in cells)]
    for i in shown:
        table.add_column(COLUMNS[i], justify="right" if i else "left")
    for row in cells:
        table.add_row(*(row[i] for i in shown))
    return table
