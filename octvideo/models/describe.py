"""What octavize did to each convolution, and what that saves."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from octvideo.layers import OctaveConv2d, OctaveConv3d


@dataclass(frozen=True)
class LayerCost:
    """One convolution.

    Args:
        path: of its module.
        channels_in, channels_out: ``(high, low)``.
        macs, dense_macs: multiply-adds, as it runs and as the dense layer would.
        activations, dense_activations: numbers in its output.
        why_dense: why its output is not split; empty if it is.
    """

    path: str
    channels_in: tuple[int, int]
    channels_out: tuple[int, int]
    macs: int
    dense_macs: int
    activations: int
    dense_activations: int
    why_dense: str


def layer_costs(model: nn.Module, shape: Sequence[int]) -> list[LayerCost]:
    """Every convolution in the order in which it runs, for one forward pass.

    Args:
        model: a network, octave or dense; it is not changed.
        shape: of its input, ``(B, 3, T, H, W)`` say, in frames and pixels.
    """
    meta = getattr(model, "meta", {})
    why_dense = meta.get("why_dense", {}) if isinstance(meta, dict) else {}
    model = copy.deepcopy(model).to("meta").eval()
    costs: list[LayerCost] = []
    before: dict[nn.Module, int] = {}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:

        def start(module: nn.Module, args: Any) -> None:
            before[module] = counter.get_total_flops()

        def end(module: nn.Module, args: Any, output: Any) -> None:
            macs = (counter.get_total_flops() - before[module]) // 2
            conv = cast(nn.Conv3d, module)
            costs.append(_cost(paths[module], conv, args[0], output, macs, why_dense))

        paths: dict[nn.Module, str] = {
            m: name for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Conv3d)
        }
        for module in paths:
            module.register_forward_pre_hook(start)
            module.register_forward_hook(end)
        model(torch.empty(tuple(shape), device="meta"))
    return costs


def _cost(path: str, conv: nn.Conv3d, x: Any, y: Any, macs: int, why_dense: dict[str, str]) -> LayerCost:
    high = x if isinstance(x, Tensor) else x[0]
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(
            high.shape[2:],
            conv.kernel_size,
            conv.stride,
            cast(tuple[int, ...], conv.padding),
            conv.dilation,
            strict=True,
        )
    ]
    outputs = high.shape[0] * conv.out_channels * math.prod(size)
    if isinstance(conv, OctaveConv2d | OctaveConv3d):
        channels_in, channels_out = (
            (len(split.high), len(split.low)) for split in (conv.in_split, conv.out_split)
        )
    else:
        channels_in, channels_out = (conv.in_channels, 0), (conv.out_channels, 0)
    split = channels_out[1] > 0
    return LayerCost(
        path=path,
        channels_in=channels_in,
        channels_out=channels_out,
        macs=macs,
        dense_macs=outputs * math.prod(conv.kernel_size) * conv.in_channels // conv.groups,
        activations=sum(part.numel() for part in ([y] if isinstance(y, Tensor) else y) if part is not None),
        dense_activations=outputs,
        why_dense="" if split else why_dense.get(path, "not octavized"),
    )


def describe(model: nn.Module, shape: Sequence[int]) -> str:
    """A table of every convolution: its split, and its work and memory beside the dense layer's.

    Args:
        model: what ``octavize`` gave.
        shape: of its input, ``(B, 3, T, H, W)`` say, in frames and pixels.
    """
    costs = layer_costs(model, shape)
    header = ("convolution", "in", "out", "MMACs", "dense", "ratio", "activations", "dense", "stays dense")
    rows = [
        (
            c.path,
            f"{c.channels_in[0]}+{c.channels_in[1]}",
            f"{c.channels_out[0]}+{c.channels_out[1]}",
            *_amounts(c.macs, c.dense_macs, c.activations, c.dense_activations),
            c.why_dense,
        )
        for c in costs
    ]
    totals = [
        sum(getattr(c, name) for c in costs)
        for name in ("macs", "dense_macs", "activations", "dense_activations")
    ]
    rows.append(("all convolutions", "", "", *_amounts(*totals), ""))
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if i in (0, 8) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join(lines)


def _amounts(macs: int, dense_macs: int, activations: int, dense_activations: int) -> tuple[str, ...]:
    return (
        f"{macs / 1e6:.1f}",
        f"{dense_macs / 1e6:.1f}",
        f"{macs / dense_macs:.2f}",
        f"{activations:,}",
        f"{dense_activations:,}",
    )
