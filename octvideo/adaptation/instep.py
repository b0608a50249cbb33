"""A network run node by node, each node for all clips before the next one.

So a layer can be changed once all that comes in front of it has been, in one pass over the network instead of one a
layer. What is kept is what some later node still reads, of all clips.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

Conv = nn.Conv2d | nn.Conv3d


@torch.no_grad()
def run_in_step(
    network: fx.GraphModule, clips: Sequence[Tensor], before_conv: Callable[[str, Conv, list[Any]], None]
) -> None:
    """Runs the network, and tells of every convolution before it runs.

    Args:
        network: in evaluation, of what `octavize` gives.
        clips: `(1, 3, T, H, W)` each, of any sizes.
        before_conv: called with the module's path, the module, and its input for each clip: a tensor, or `(high, low)`.
    """
    run = fx.Interpreter(network)
    values: dict[fx.Node, list[Any]] = {}
    for node in network.graph.nodes:
        if node.op == "output":
            return
        if node.op == "placeholder":
            values[node] = list(clips)
            continue
        inputs = [_of_clip(node, values, number) for number in range(len(clips))]
        if node.op == "call_module" and isinstance(module := network.get_submodule(node.target), Conv):
            before_conv(node.target, module, [args[0] for args, _ in inputs])
        values[node] = [getattr(run, node.op)(node.target, args, kwargs) for args, kwargs in inputs]
        del inputs
        for used in run.user_to_last_uses.get(node, []):
            del values[used]


@torch.no_grad()
def bytes_of_maps(network: fx.GraphModule, clip: Tensor) -> int:
    """The most that the maps of a clip `(1, 3, T, H, W)` take at once, in such a run."""
    weighing = _Weighing(network)
    weighing.run(clip)
    return weighing.most


class _Weighing(fx.Interpreter):
    """A run that notes how many bytes are kept for later nodes."""

    most = 0

    def run_node(self, node: fx.Node) -> Any:
        found = super().run_node(node)
        parts: list[Any] = [*self.env.values(), found]
        while any(isinstance(part, tuple) for part in parts):
            parts = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
        # Views, such as the parts of an octave value, are of the same memory.
        memory = {
            p.untyped_storage().data_ptr(): p.untyped_storage().nbytes()
            for p in parts
            if isinstance(p, Tensor)
        }
        self.most = max(self.most, sum(memory.values()))
        return found


def _of_clip(node: fx.Node, values: dict[fx.Node, list[Any]], number: int) -> Any:
    """A node's arguments, positional and named, for one clip."""
    return fx.node.map_arg((node.args, node.kwargs), lambda n: values[n][number])
