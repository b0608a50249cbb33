"""`octvideo models`: what there is, and what it costs."""

import argparse

from rich.console import Console
from rich.table import Table

ALPHAS = (0.0, 0.125, 0.25, 0.5)


def models_command(args: list[str]) -> int:
    """Prints the model table; `--alpha` chooses the octave ratios."""
    parser = argparse.ArgumentParser(prog="octvideo models", exit_on_error=False)
    parser.add_argument("--alpha", type=float, nargs="+", default=ALPHAS, help="octave ratios, 0 to 1")
    parser.add_argument("--num_classes", type=int, default=400)
    options = parser.parse_args(args)

    from octvideo.models import MODELS, count_macs, count_parameters, create_model

    table = Table(title="models (GFLOPs are multiply-adds of one clip)")
    for column in ("name", "input: frames x stride @ crop", "parameters"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for alpha in options.alpha:
        table.add_column(f"GFLOPs at alpha {alpha:g}", justify="right")
    for name, spec in MODELS.items():
        shape = (1, 3, spec.num_frames, spec.crop, spec.crop)
        models = [create_model(name, alpha=alpha, num_classes=options.num_classes) for alpha in options.alpha]
        table.add_row(
            name,
            f"{spec.num_frames} x {spec.frame_stride} @ {spec.crop}",
            f"{count_parameters(models[0]) / 1e6:.2f} M",
            *(f"{count_macs(model, shape) / 1e9:.3g}" for model in models),
        )
    Console().print(table)
    return 0
