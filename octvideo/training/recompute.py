"""Activation checkpointing: residual blocks keep their input alone and are computed again in the backward pass.

https://arxiv.org/abs/1604.06174. Norm layers do not count their batch twice; results are the same, but for the order
in which gradients are summed.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import fx, nn
from torch.fx.passes.split_module import split_module
from torch.utils.checkpoint import checkpoint

from octvideo.errors import InputError
from octvideo.training.optimizer import norms


def recompute_activations(network: nn.Module, blocks: str) -> int:
    """Lets the residual blocks of a network, dense or octave, be recomputed, in place.

    Call it when the layers are final (after `SyncBatchNorm.convert_sync_batchnorm`); the state dict stays.

    Args:
        blocks: a regular expression for the paths of the blocks, as `ModelSpec` has it; empty where there are none.

    Returns:
        The number of blocks.

    Raises:
        ValueError: there is no residual block.
    """
    block_of = partial(_block_of, re.compile(rf"({blocks})(\.|$)") if blocks else None)
    if isinstance(network, fx.GraphModule):
        runner, found = _split(network, block_of)
        network.__dict__["forward"] = runner.forward  # no submodule: the parameters stay where they are
    else:
        found = [module for name, module in network.named_modules() if name and block_of(name) == name]
    if not found:
        raise InputError(f"checkpoint_activations: {type(network).__name__} has no residual blocks")
    for block in found:
        block.__dict__["forward"] = partial(
            checkpoint, block.forward, use_reentrant=False, context_fn=partial(_contexts, block)
        )
    return len(found)


def _block_of(blocks: re.Pattern[str] | None, path: str) -> str | None:
    """The block that a module of that path is, or lies in."""
    match = blocks.match(path) if blocks else None
    return match[1] if match else None


def _split(
    network: fx.GraphModule, block_of: Callable[[str], str | None]
) -> tuple[fx.GraphModule, list[nn.Module]]:
    """The same graph in pieces, one a residual block and one for what lies between two; and the blocks' pieces."""
    piece_of: dict[fx.Node, int] = {}
    pieces: list[str | None] = [None]  # the block of each piece
    for node in network.graph.nodes:
        if node.op in ("call_module", "get_attr"):
            block = block_of(str(node.target))
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
