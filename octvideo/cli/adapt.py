"""`octvideo adapt WEIGHTS --alpha A --videos FOLDER --out FILE`: dense weights to an octave checkpoint, no labels."""

import argparse
from pathlib import Path

from octvideo.adaptation.settings import BATCH_SIZE, LR, SETTINGS, STEPS
from octvideo.cli.ahead import check_videos
from octvideo.cli.errors import UsageError
from octvideo.cli.weights import check_weights
from octvideo.limits import LIMITS, check_numbers
from octvideo.parser import Parser


def adapt_command(args: list[str]) -> int:
    """Adapts, measures before and after each step on videos that were held out, and writes what was found."""
    parser = Parser(
        prog="octvideo adapt",
        description="Turns dense weights into an octave checkpoint with unlabelled videos: chooses the low channels, "
        "fits each layer to the dense one, brings features and logits together, and once more by the last stage "
        "alone. One video in four is held out, to measure on. A stopped run goes on from OUT.part.",
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
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="for bringing features together (default: %(default)g)"
    )
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
    parser.add_argument(
        "--batch_size", type=int, default=BATCH_SIZE, help="clips of a step (default: %(default)d)"
    )
    parser.add_argument("--lr", type=float, default=LR, help="of Adam, at its peak (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="of the clips' order")
    parser.add_argument("--num_workers", type=int, help="decoding processes; one a core by default")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: %(default)s)")
    options = parser.parse_args(args)
    _check(options)

    from octvideo.cli.adapting import run

    return run(options)


def _check(options: argparse.Namespace) -> None:
    given = {name: value for name, value in vars(options).items() if value is not None}
    check_numbers(given, prefix="--", limits={**LIMITS, **SETTINGS, "alpha": SETTINGS["budget"]})
    if options.out.exists():
        raise UsageError(f"--out is {options.out.absolute()}, which exists: remove it or name another")
    if options.out.suffix != ".ckpt":
        raise UsageError(f"--out is {options.out}, allowed is a name that ends in .ckpt")
    check_weights(options.weights)
    check_videos(options.videos)
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--device is cuda, but torch sees no GPU here; allowed: cpu")
