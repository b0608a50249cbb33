"""The channels of a dense network put in another order, so that those that lose least become the low ones.

`octavize` takes the last channels of each convolution (of each of its groups) as low ones. Which channels these are is
free: any order gives the same dense network, if all that writes and reads them follows it.

What a channel loses as a low one is what its map differs by from its averages over 2x2 pixels, as the layers that
read it see it: its square, times the squares of their weights for this channel, as a share of all that each reads.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from octvideo.adaptation.outputs import batch_of
from octvideo.adaptation.tied import Run, tied_channels
from octvideo.engines.resample import downsample, upsample


@torch.no_grad()
def order_channels(network: nn.Module, clips: Sequence[Tensor]) -> int:
    """Orders the channels of a dense network in place; what it gives stays the same, to rounding.

    Args:
        network: in evaluation.
        clips: `(3, T, H, W)` each: what the losses are measured on.

    Returns:
        How many channels have moved.
    """
    runs = tied_channels(network)
    losses = _losses(network, runs, clips)
    moved = 0
    for run, loss in zip(runs, losses, strict=True):
        order = _falling(loss, run.blocks)
        moved += int((order != torch.arange(run.channels)).sum())
        move(network, run, order)
    return moved


def _falling(loss: Tensor, blocks: int) -> Tensor:
    """The channel that loses most first, within each block."""
    inside = loss.unflatten(0, (blocks, -1)).argsort(dim=1, descending=True, stable=True)
    return (inside + torch.arange(blocks)[:, None] * inside.shape[1]).flatten()


def move(network: nn.Module, run: Run, order: Tensor) -> None:
    """Puts channel `order[i]` of a run into place i, wherever they are written, normalised and read."""
    for path in run.writers:
        conv = cast(nn.Conv3d, network.get_submodule(path))
        _take_rows(conv, order, 0)
    for path, first in run.norms:
        _take_rows(network.get_submodule(path), order, first)
    for path, first in run.readers:
        conv = cast(nn.Conv3d, network.get_submodule(path))
        weight = conv.weight.data
        if conv.groups == 1:
            part = slice(first, first + run.channels)
            weight[:, part] = weight[:, part][:, order]
            continue
        # Each group counts its own channels, and none leaves its group.
        size = run.channels // conv.groups
        for group, of_group in enumerate(weight.chunk(conv.groups)):
            inside = order[group * size : (group + 1) * size] - group * size
            of_group.copy_(of_group[:, inside])


def _take_rows(module: nn.Module, order: Tensor, first: int) -> None:
    """A norm's or a convolution's tensors, which have a row a channel."""
    part = slice(first, first + len(order))
    for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        if tensor.dim():
            tensor.data[part] = tensor.data[part][order]


def _losses(network: nn.Module, runs: Sequence[Run], clips: Sequence[Tensor]) -> list[Tensor]:
    """By run, what each channel loses, `(C,)`."""
    readers = {path for run in runs for path, _ in run.readers}
    found: dict[str, Tensor] = {}

    def before(path: str, conv: Any, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach()
        if x.shape[-1] < 2:
            return
        detail = (x - upsample(downsample(x), x.shape[-2:])).square().mean((0, *range(2, x.dim())))
        all_of_it = x.square().mean((0, *range(2, x.dim())))
        size = conv.weight.square().flatten(2).sum(2)  # (C_out, channels of a group)
        size = size.unflatten(0, (conv.groups, -1)).sum(1).flatten()
        loss = (detail * size / (all_of_it * size).sum().clamp_min(1e-12)).cpu()
        found[path] = found.get(path, 0) + loss

    handles = [
        network.get_submodule(path).register_forward_pre_hook(lambda m, x, path=path: before(path, m, x))
        for path in readers
    ]
    try:
        for index in range(len(clips)):
            network(batch_of(clips, [index]))
    finally:
        for handle in handles:
            handle.remove()
    return [
        sum((found[p][i : i + run.channels] for p, i in run.readers if p in found), torch.zeros(run.channels))
        for run in runs
    ]
