"""The networks that octavize is tested on, the paper's systems among them, at sizes that run fast."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torchvision.models as image
from torch import nn
from torchvision.models import video

from octvideo.models import create_model


@dataclass(frozen=True)
class Network:
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of its input
    alpha: float = 0.25
    options: dict[str, Any] = field(default_factory=dict)


def resnet26() -> nn.Module:
    return image.ResNet(image.resnet.Bottleneck, [2, 2, 2, 2])


def mobilenet_v1() -> nn.Module:
    """MobileNet v1 (arXiv 1704.04861, Table 1) with torchvision's building block; no kept library has it."""
    block = image.mobilenetv2.Conv2dNormActivation
    layers: list[nn.Module] = [block(3, 32, stride=2)]
    channels = 32
    for width, stride in (
        [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
        + 5 * [(512, 1)]
        + [
            (1024, 2),
            (1024, 1),
        ]
    ):
        layers += [block(channels, channels, stride=stride, groups=channels), block(channels, width, 1)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def seresnet50() -> nn.Module:
    return pytest.importorskip("timm").create_model("seresnet50")


IMAGE = (2, 3, 49, 48)
CLIP = (2, 3, 4, 33, 32)
FAST = {
    "resnet18": Network(image.resnet18, IMAGE),
    "mobilenet_v2": Network(image.mobilenet_v2, IMAGE),
    "r3d_18": Network(video.r3d_18, CLIP),
    "i3d_tiny": Network(lambda: create_model("i3d_tiny"), CLIP),
}
SLOW = {
    "x3d_s": Network(lambda: create_model("x3d_s"), CLIP),
    "r2plus1d_18": Network(video.r2plus1d_18, CLIP),
    "mobilenet_v1": Network(mobilenet_v1, IMAGE),
    "resnet26": Network(resnet26, IMAGE),
    "resnet50": Network(image.resnet50, IMAGE),
    "resnext50_32x4d": Network(image.resnext50_32x4d, IMAGE),
    "densenet121": Network(image.densenet121, IMAGE),
    "seresnet50": Network(seresnet50, IMAGE),
    "mc3_18": Network(video.mc3_18, CLIP),
    "s3d": Network(video.s3d, (1, 3, 16, 224, 224)),
    "c2d_r50": Network(lambda: create_model("c2d_r50"), CLIP),
    "i3d_r50": Network(lambda: create_model("i3d_r50"), CLIP),
    "i3d_nl_r50": Network(lambda: create_model("i3d_nl_r50"), CLIP),
    "slow_r50": Network(lambda: create_model("slow_r50"), CLIP),
    "slowfast_r50": Network(lambda: create_model("slowfast_r50"), (2, 3, 8, 33, 32)),
    "r2plus1d_r50": Network(lambda: create_model("r2plus1d_r50"), (1, 3, 16, 33, 32)),
    "csn_r101": Network(lambda: create_model("csn_r101"), (1, 3, 8, 33, 32)),
}
# More of the same blocks as their smaller siblings.
DEEPER = {
    "resnet101": Network(image.resnet101, IMAGE),
    "resnet152": Network(image.resnet152, IMAGE),
    "resnext101_32x8d": Network(image.resnext101_32x8d, IMAGE, alpha=0.125),
    "slowfast_r101": Network(lambda: create_model("slowfast_r101"), (1, 3, 8, 33, 32)),
    "x3d_m": Network(lambda: create_model("x3d_m"), CLIP),
}


_SOAK = (pytest.mark.slow, pytest.mark.soak)


def all_networks() -> list[Any]:
    """Every network, the heavy ones marked slow, and the heaviest soak."""
    return [
        *(pytest.param(n, id=name) for name, n in FAST.items()),
        *(pytest.param(n, id=name, marks=pytest.mark.slow) for name, n in SLOW.items()),
        *(pytest.param(n, id=name, marks=_SOAK) for name, n in DEEPER.items()),
    ]


def randomise_norms(model: nn.Module) -> None:
    """Norm parameters and statistics away from 0 and 1, so that nothing hides behind them."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def keep_centre_taps(model: nn.Module) -> None:
    """Cut every kernel to its spatial centre."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            height, width = module.kernel_size[-2:]
            mask = torch.zeros_like(module.weight)
            mask[..., height // 2, width // 2] = 1
            module.weight.data *= mask


def traced_networks() -> list[Any]:
    """Every network, for what takes a minute each: one of each kind of block is slow, the others are soak."""
    kinds = ("i3d_tiny", "mobilenet_v2", "seresnet50", "i3d_nl_r50", "slowfast_r50")
    every = {**FAST, **SLOW, **DEEPER}
    return [
        pytest.param(n, id=name, marks=(pytest.mark.slow,) if name in kinds else _SOAK)
        for name, n in every.items()
    ]
