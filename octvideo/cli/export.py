"""`octvideo export CKPT OUT`: a checkpoint as one file that runs without this package."""

import argparse
from pathlib import Path
from typing import Any

from octvideo.cli.errors import UsageError
from octvideo.limits import check_numbers


def export_command(args: list[str]) -> int:
    """Writes OUT and prints how far its logits are from the network's."""
    parser = argparse.ArgumentParser(
        prog="octvideo export",
        exit_on_error=False,
        description="Writes a network, its weights and its model card as OUT.onnx or OUT.pt2; "
        "octvideo predict --exported OUT runs it.",
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
    parser.add_argument("--crop", type=int, help="height and width of the clips, those of testing by default")
    options = parser.parse_args(args)

    import torch

    from octvideo.models.export import export_network

    network, card = _network(options)
    side = card["test_crop"] if options.crop is None else options.crop
    check_numbers({"crop": side, "num_frames": card["num_frames"]}, prefix="--")
    shape = (card["num_frames"], side, side)
    difference = export_network(network, options.out, input_shape=shape, card={**card, "test_crop": side})
    file = Path(options.out).absolute()
    print(
        f"{file} ({file.stat().st_size / 1e6:.1f} MB): {card['name']}, alpha {card['alpha']:g}, clip "
        f"(B, 3, {', '.join(map(str, shape))}) to logits (B, {card['num_classes']}); "
        f"max difference from torch {torch.__version__}: {difference:.2g}"
    )
    return 0


def _network(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The network of the command line and its model card."""
    import octvideo
    from octvideo.classifier import load_classifier
    from octvideo.models import MODELS, create_model, get_spec, model_card
    from octvideo.models.card import MADE_OF
    from octvideo.models.checkpoints import read_checkpoint

    stored = read_checkpoint(options.checkpoint).get("hyper_parameters")
    given = {k: getattr(options, k) for k in MADE_OF if getattr(options, k) is not None}
    if isinstance(stored, dict) and "name" in stored:
        classifier = load_classifier(options.checkpoint, **given)
        settings = {k: getattr(classifier, k) for k in MADE_OF}
        card = {**get_spec(classifier.name).recipe, **classifier.card}
        return classifier.network, {**settings, **card, "version": octvideo.__version__}
    if "name" not in given:
        file = Path(options.checkpoint).absolute()
        raise UsageError(f"{file} does not say what it is of: --model.name, one of {', '.join(MODELS)}")
    settings = {"alpha": 0.0, "channel_multiple": 1, "num_classes": 400, **given}
    network = create_model(**settings, checkpoint=options.checkpoint)
    card = model_card(settings["name"], alpha=settings["alpha"], num_classes=settings["num_classes"])
    return network, {**settings, **card, "version": octvideo.__version__}
