"""`octvideo export CKPT OUT`: a checkpoint as one file that runs without this package."""

import argparse
from dataclasses import replace
from pathlib import Path

from octvideo.card import EXPORT_FORMATS, NETWORK
from octvideo.cli import network as own
from octvideo.cli import screen
from octvideo.cli.errors import UsageError
from octvideo.cli.weights import check_weights
from octvideo.limits import check_numbers
from octvideo.parser import Parser


def export_command(args: list[str]) -> int:
    """Writes OUT and prints how far its logits are from the network's."""
    parser = Parser(
        prog="octvideo export",
        description="Writes a network, its weights and its model card as OUT.onnx or OUT.pt2; "
        "octvideo predict --exported OUT runs it.",
        epilog=own.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="of octvideo fit, or another project's weights")
    parser.add_argument("out", metavar="OUT", help="ends in .onnx or .pt2")
    parser.add_argument("--model.name", dest="name", help="the network, where the checkpoint does not say it")
    parser.add_argument(
        "--model.alpha", dest="alpha", type=float, help="octave ratio, the checkpoint's by default"
    )
    parser.add_argument(
        "--model.channel_multiple",
        dest="channel_multiple",
        type=int,
        help="what numbers of low channels are rounded to, the checkpoint's by default",
    )
    parser.add_argument(
        "--model.num_classes", dest="num_classes", type=int, help="400 where CKPT does not say it"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="OUT.pt2 is compiled for this machine (AOTInductor); octvideo does not load such files",
    )
    parser.add_argument("--device", default="cpu", help="that a compiled network runs on, cpu or cuda")
    parser.add_argument(
        "--snippet", metavar="FILE.py", help="also write its preprocessing, of numpy and PyAV alone"
    )
    parser.add_argument("--crop", type=int, help="height and width of the clips, those of testing by default")
    args, of_network = own.split_off(args)
    options = parser.parse_args(args)
    if Path(options.out).suffix not in EXPORT_FORMATS:
        raise UsageError(
            f"{Path(options.out).absolute()}: the name must end in {' or '.join(EXPORT_FORMATS)}"
        )
    check_weights(options.checkpoint)
    check_numbers({k: v for k, v in vars(options).items() if v is not None}, prefix="--")

    import torch

    import octvideo
    from octvideo.models import open_weights
    from octvideo.models.compiled import compile_network
    from octvideo.models.export import export_network
    from octvideo.models.snippet import check_snippet, write_snippet

    if options.snippet:
        check_snippet(options.snippet)
    if options.device != "cpu" and not options.compile:
        raise UsageError(
            f"--device is {options.device}, allowed without --compile is cpu: the file runs anywhere"
        )

    network, card, report = open_weights(
        options.checkpoint,
        network=own.build(of_network),
        **{key: getattr(options, key, None) for key in NETWORK},
    )
    report.check_scores(card.num_classes)
    side = card.test_crop if options.crop is None else options.crop
    check_numbers({"crop": side, "num_frames": card.num_frames}, prefix="--")
    shape = (card.num_frames, side, side)
    card = replace(card, version=octvideo.__version__, test_crop=side)
    if options.compile:
        difference = compile_network(
            network, options.out, input_shape=shape, card=card, device=options.device
        )
    else:
        difference = export_network(network, options.out, input_shape=shape, card=card)
    if options.snippet:
        write_snippet(options.snippet, card)
    file = Path(options.out).absolute()
    if screen.wants_json():
        screen.write_json({"file": str(file), "shape": [None, 3, *shape], "max_difference": difference})
        return 0
    print(
        f"{file} ({file.stat().st_size / 1e6:.1f} MB): {card.name}, alpha {card.alpha:g}, clip "
        f"(B, 3, {', '.join(map(str, shape))}) to logits (B, {card.num_classes}); "
        f"max difference from torch {torch.__version__}: {difference:.2g}"
    )
    if options.snippet:
        print(f"{Path(options.snippet).absolute()}: its preprocessing")
    return 0
