"""What `octvideo models` shows without building a network: `python -m octvideo.models.figures` counts it anew.

`figures.json`, beside this file, is what it writes; a test counts the same again.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from octvideo.files import replace_file
from octvideo.models.cost import count_macs, count_parameters
from octvideo.models.table import MODELS, get_spec
from octvideo.models.weights import create_model

FILE = Path(__file__).with_suffix(".json")
ALPHAS = (0.0, 0.125, 0.25, 0.5)


def figures_of(name: str, alphas: tuple[float, ...] = ALPHAS, num_classes: int = 400) -> dict[str, Any]:
    """Clip, parameters, multiply-adds of one clip at each alpha (1e9), and published accuracy of a network."""
    spec = get_spec(name)
    card = spec.card
    with torch.device("meta"):  # shapes only
        models = [create_model(name, alpha=alpha, num_classes=num_classes) for alpha in alphas]
    return {
        "num_frames": card.num_frames,
        "frame_stride": card.frame_stride,
        "fps": card.fps,
        "crop": card.crop,
        "parameters": count_parameters(models[0]),
        "gflops": {
            f"{alpha:g}": round(count_macs(model, spec.input_shape) / 1e9, 6)
            for alpha, model in zip(alphas, models, strict=True)
        },
        "published": asdict(spec.published) if spec.published else None,
    }


def main() -> int:
    """Counts every network of the table."""
    found = {name: figures_of(name) for name in MODELS}
    replace_file(FILE, lambda out: out.write(json.dumps(found, indent=1) + "\n"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
