"""The paper's costs beside ours: `python -m benchmarks.figures [--markdown FILE]`. Nothing here is timed.

Octave convolution, https://arxiv.org/abs/1904.05049, Tables 1, 2, 4 and 8. Multiply-adds are counted as the network
runs, without pooling and upsampling.
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision.models as image
from rich.console import Console
from rich.progress import track
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from octvideo.layers import Octave, OctaveConv3d, split_channels
from octvideo.models import count_macs, create_model, layer_costs, octavize

IMAGE = (1, 3, 224, 224)
CLIP = (1, 3, 8, 224, 224)
LAYER_ALPHAS = (0.0, 0.125, 0.25, 0.5, 0.75, 0.875, 1.0)
LAYER_FLOPS = (100, 82, 67, 44, 30, 26, 25)  # Table 1, in percent
LAYER_MEMORY = (100, 91, 81, 63, 44, 35, 25)


def layer(alpha: float) -> tuple[float, float]:
    """Multiply-adds and output numbers of one 3x3x3 layer, 64 to 64 channels on 8x32x32."""
    conv = OctaveConv3d(64, 64, 3, padding=1, alpha_in=alpha, alpha_out=alpha).to("meta")
    high, low = split_channels(64, alpha)
    x = Octave(
        torch.empty(1, high, 8, 32, 32, device="meta") if high else None,
        torch.empty(1, low, 8, 16, 16, device="meta") if low else None,
    )
    with FlopCounterMode(display=False) as counter:
        y = conv(x.high if alpha == 0 else x)
    parts = [y] if isinstance(y, torch.Tensor) else [part for part in y if part is not None]
    return counter.get_total_flops(), sum(part.numel() for part in parts)


def layers() -> list[str]:
    dense = layer(0.0)
    lines = ["| alpha | FLOPs, % | paper | memory, % | paper |", "|---|---|---|---|---|"]
    for alpha, flops, memory in zip(LAYER_ALPHAS, LAYER_FLOPS, LAYER_MEMORY, strict=True):
        ours = [100 * a / b for a, b in zip(layer(alpha), dense, strict=True)]
        lines.append(f"| {alpha:g} | {ours[0]:.1f} | {flops} | {ours[1]:.1f} | {memory} |")
    return lines


def resnext101_32x4d() -> nn.Module:
    return image.ResNet(image.resnet.Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)


def mobilenet_v2() -> nn.Module:
    """The authors' network: their first block has the expansion that torchvision leaves out."""
    net = image.mobilenet_v2()
    expand = image.mobilenetv2.Conv2dNormActivation(32, 32, 1, activation_layer=nn.ReLU6)
    net.features[1].conv = nn.Sequential(expand, *net.features[1].conv)
    return net


# The authors' MobileNet v2 splits the expanded channels only, and ends with the 14th block's expansion.
MOBILENET_DENSE = ("features.*.conv.2", "features.14.conv.0.0")

# name, network, input, unit, options, {alpha: paper's figure}; a paper figure below 2 is a ratio to the dense one.
NETWORKS: list[tuple[str, Callable[[], nn.Module], tuple[int, ...], dict, dict[float, float]]] = [
    ("I3D R50, 8x224x224", lambda: create_model("i3d_r50"), CLIP, {}, {0.1: 0.911, 0.2: 0.786, 0.5: 0.544}),
    ("C2D R50", lambda: create_model("c2d_r50"), CLIP, {}, {0.1: 0.902}),
    ("I3D R50 + NL", lambda: create_model("i3d_nl_r50"), CLIP, {}, {0.1: 0.868}),
    ("I3D R50 + NL, convolutions only", lambda: create_model("i3d_nl_r50"), CLIP, {}, {0.1: 0.868}),
    ("ResNet-50", image.resnet50, IMAGE, {}, {0.125: 3.6, 0.25: 3.1, 0.5: 2.4, 0.75: 1.9}),
    ("ResNeXt-50 32x4d", image.resnext50_32x4d, IMAGE, {}, {0.25: 3.2, 0.5: 2.4}),
    ("ResNeXt-101 32x4d", resnext101_32x4d, IMAGE, {}, {0.5: 4.0}),
    ("MobileNet v2", mobilenet_v2, IMAGE, {"dense": MOBILENET_DENSE}, {0.375: 0.256}),
]


def convolution_macs(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Without the matrix products of attention: so counted, I3D + NL costs what the paper says (33.3 G)."""
    return sum(cost.macs for cost in layer_costs(model, shape))


def networks() -> list[str]:
    lines = [
        "| network | alpha | paper | last stage dense | last stage octave | nearer | off by |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, build, shape, options, figures in track(NETWORKS, "networks", console=Console(stderr=True)):
        dense = build()
        count = convolution_macs if name.endswith("convolutions only") else count_macs
        dense_macs = count(dense, shape)
        ratio = name.startswith(("I3D", "C2D"))
        lines.append(f"| {name} | 0 | | {dense_macs / 1e9:.2f} G | | | |")
        for alpha, figure in figures.items():
            macs = [
                count(octavize(dense, alpha, dense_last_stage=last, **options), shape)
                for last in (True, False)
            ]
            ours = [m / dense_macs if ratio else m / 1e9 for m in macs]
            nearest = min(ours, key=lambda value: abs(value - figure))
            error = f"{nearest - figure:+.3f}" if ratio else f"{100 * (nearest / figure - 1):+.1f} %"
            cells = [f"{value:.3f}" + ("" if ratio else " G") for value in (figure, *ours)]
            which = "dense" if nearest == ours[0] else "octave"
            lines.append(f"| {name} | {alpha:g} | {' | '.join(cells)} | {which} | {error} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", type=Path, help="write the tables to this file too")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    text = "\n".join(
        [
            "## One layer against alpha (Table 1)", "", *layers(), "",
            "## Networks (Tables 2, 4 and 8)", "",
            "I3D and C2D as ratios to the dense network, the others in giga multiply-adds.", "", *networks(), "",
        ]
    )  # fmt: skip
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text)


if __name__ == "__main__":
    main()
