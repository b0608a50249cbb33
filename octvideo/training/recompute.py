"""Activation checkpointing: residual blocks keep their input alone and are computed again in the backward pass.

https://arxiv.org/abs/1604.06174. Norm layers do not count their batch twice; results are the same, but for the order
in which gradients are summed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import fx, nn
from torch.fx.passes.split_module import split_module
from torch.utils.checkpoint import checkpoint

from octvideo.errors import InputError
from octvideo.training.optimizer import norms

# pytorchvideo's residual blocks, and torchvision's.
_BLOCK = re.compile(r"^((.*\bres_blocks|layer\d)\.\d+)(\.|$)")


def recompute_activations(network: nn.Module) -> int:
    """Lets the residual blocks of a network of `octvideo models`, dense or octave, be recomputed, in place.

    Call it when the layers are final (after `SyncBatchNorm.convert_sync_batchnorm`); the state dict stays.

    Returns:
        The number of blocks.

    Raises:
        ValueError: there is no residual block.
    """
    if isinstance(network, fx.GraphModule):
        runner, blocks = _split(network)
        network.__dict__["forward"] = runner.forward  # no submodule: the parameters stay where they are
    else:
        paths = {name: _BLOCK.match(name) for name, _ in network.named_modules()}
        blocks = [network.get_submodule(name) for name, match in paths.items() if match and match[1] == name]
    if not blocks:
        raise InputError(f"checkpoint_activations: {type(network).__name__} has no residual blocks")
    for block in blocks:
        block.__dict__["forward"] = partial(
            checkpoint, block.forward, use_reentrant=False, context_fn=partial(_contexts, block)
        )
    return len(blocks)


def _split(network: fx.GraphModule) -> tuple[fx.GraphModule, list[nn.Module]]:
    """The same graph in pieces, one a residual block and one for what lies between two; and the blocks' pieces."""
    piece_of: dict[fx.Node, int] = {}
    pieces: list[str | None] = [None]  # the block of each piece
    for node in network.graph.nodes:
        if node.op in ("call_module", "get_attr"):
            match = _BLOCK.match(str(node.target))
            block = match[1] if match else None
            if block != pieces[-1]:
                pieces.append(block)
        piece_of[node] = len(pieces) - 1  # an addition belongs with the layers before it
    runner = split_module(network, network, lambda node: piece_of[node])
    blocks = [getattr(runner, f"submod_{number}") for number, block in enumerate(pieces) if block]
    return runner, blocks


def _contexts(block: nn.Module) -> tuple[Any, Any]:
    return nullcontext(), _unchanged_statistics(block)


@contextmanager
def _unchanged_statistics(block: nn.Module) -> Iterator[None]:
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms(block)]
    for norm, _, count in before:
        norm.momentum = 0.0  # type: ignore[assignment]
        norm.num_batches_tracked = None if count is None else count.clone()  # type: ignore[union-attr,operator]
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count  # type: ignore[assignment]
