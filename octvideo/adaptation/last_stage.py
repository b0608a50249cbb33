"""The last stage and the classifying layer of an octave network, brought to the dense network's features and logits.

They are dense, and read maps of the lowest resolution. What comes in front of them is run once for each clip and kept,
so that a hundred steps cost what a few do of the whole network: on two cores there is time for no others.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, fx, nn

from octvideo.adaptation.distill import Budget, Distillation
from octvideo.adaptation.outputs import Outputs, batch_of
from octvideo.layers import OctaveConv2d, OctaveConv3d

BATCH, LR = 16, 1e-4  # clips of a step, and Adam's rate at its peak
PASSES = 2  # over the clips


def train_last_stage(
    octave: fx.GraphModule,
    clips: Sequence[Tensor],
    wanted: Callable[[list[int]], Outputs],
    *,
    most_bytes: int,
    seed: int = 0,
    progress: Callable[[float, float | None], None] | None = None,
) -> None:
    """Trains what stands behind the last octave convolution, in place.

    Args:
        octave: in evaluation.
        clips: `(3, T, H, W)` each.
        wanted: gives what the dense network makes of some clips, by their numbers.
        most_bytes: that may be kept; where clips need more, fewer are learnt from.
        seed: of the clips' order.
        progress: called with the share that is done, and the loss.
    """
    tell = progress or (lambda share, loss: None)
    front, last = split_at_last_stage(octave)
    kept: list[tuple[Tensor, ...]] = []
    numbers: list[int] = []
    with torch.no_grad():
        for number in _shuffled(len(clips)):
            kept.append(front(batch_of(clips, [number])))
            numbers.append(number)
            tell(len(kept) / len(clips) / 2, None)
            if (len(kept) + 1) * sum(x.nbytes for x in kept[0]) > most_bytes:
                break

    def inputs(places: list[int]) -> tuple[Tensor, ...]:
        return tuple(torch.cat(maps) for maps in zip(*(kept[i] for i in places), strict=True))

    learning = Distillation(
        last, inputs, lambda places: wanted([numbers[i] for i in places]), len(kept),
        batch_size=BATCH, lr=LR, seed=seed,
    )  # fmt: skip
    steps = PASSES * -(-len(kept) // learning.batch_size)
    learning.run(Budget(float("inf"), steps), lambda share: tell((1 + share) / 2, learning.loss))


def split_at_last_stage(octave: fx.GraphModule) -> tuple[fx.GraphModule, fx.GraphModule]:
    """A network in two, cut in front of the first layer with weights behind the last octave convolution.

    Returns:
        What gives a tuple of tensors, and what reads these; both on the network's own modules.
    """
    nodes = list(octave.graph.nodes)
    modules = [octave.get_submodule(n.target) if n.op == "call_module" else None for n in nodes]
    octaves = [
        i for i, m in enumerate(modules) if isinstance(m, OctaveConv2d | OctaveConv3d) and not m.is_dense
    ]
    weighted = (nn.Conv2d, nn.Conv3d, nn.Linear)
    cut = next(i for i, m in enumerate(modules) if i > octaves[-1] and isinstance(m, weighted))
    first, second = nodes[:cut], nodes[cut:]
    behind = set(second)
    read = [n for n in first if any(user in behind for user in n.users)]
    shared = [n for n in read if n.op != "get_attr"]
    front, last = fx.Graph(), fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in first:
        copied[node] = front.node_copy(node, copied.__getitem__)
    front.output(tuple(copied[node] for node in shared))
    copied = {node: last.placeholder(node.name) for node in shared}
    for node in [n for n in read if n.op == "get_attr"] + second:
        copied[node] = last.node_copy(node, copied.__getitem__)
    return fx.GraphModule(octave, front), fx.GraphModule(octave, last)


def _shuffled(count: int) -> list[int]:
    """All numbers, so that the first of them are spread over all."""
    return cast(list[int], torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist())
