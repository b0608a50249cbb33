"""`octvideo models`: what there is, and what it costs."""

import argparse

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

ALPHAS = (0.0, 0.125, 0.25, 0.5)
CAPTION = """\
clip: frames x stride @ crop, at 30 frames a second, * at 15
the parameters are the same at every alpha
published: top-1 / top-5 on Kinetics-400 of the dense weights by pytorchvideo \
with 10 x 3 views (i3d_nl_r50: by PySlowFast, in a file that cannot be read yet)
* by torchvision with 5 x 1, of s3d with 1 x 1, and with other frames and pixels: `octvideo test` says which"""


def models_command(args: list[str]) -> int:
    """Prints the model table; `--alpha` chooses the octave ratios."""
    parser = argparse.ArgumentParser(prog="octvideo models", exit_on_error=False)
    parser.add_argument("--alpha", type=float, nargs="+", default=ALPHAS, help="octave ratios, 0 to 1")
    parser.add_argument("--num_classes", type=int, default=400)
    options = parser.parse_args(args)

    import torch

    from octvideo.models import MODELS, count_macs, count_parameters, create_model

    table = Table(
        title="GFLOPs (multiply-adds, 1e9) of one clip at each alpha",
        caption=CAPTION,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", no_wrap=True)
    for column in ("clip", "params", *(f"{alpha:g}" for alpha in options.alpha), "published"):
        table.add_column(column, justify="right", no_wrap=True)
    progress = track(MODELS.items(), "counting", console=Console(stderr=True), transient=True)
    for name, spec in progress:
        card = spec.card
        with torch.device("meta"):  # shapes only
            models = [
                create_model(name, alpha=alpha, num_classes=options.num_classes) for alpha in options.alpha
            ]
        table.add_row(
            name,
            f"{card.num_frames}x{card.frame_stride}{'*' if card.fps == 15 else ''} @ {card.crop}",
            f"{count_parameters(models[0]) / 1e6:.2f} M",
            *(f"{count_macs(model, spec.input_shape) / 1e9:.3g}" for model in models),
            f"{spec.published.top1:.1f}/{spec.published.top5:.1f}" if spec.published else "-",
        )
    Console().print(table)
    return 0
