"""What layers give for a clip."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def layer_outputs(network: nn.Module, clip: Tensor, paths: Iterable[str]) -> dict[str, Any]:
    """The outputs of the modules at ``paths``, in the order in which they run; the network is left as it is.

    Args:
        network: a network, run in evaluation and without gradients.
        clip: `float (B, 3, T, H, W)`.
        paths: of its modules.
    """
    outputs: dict[str, Any] = {}
    handles = []
    for path in paths:

        def keep(_: nn.Module, __: Any, output: Any, path: str = path) -> None:
            outputs[path] = output

        handles.append(network.get_submodule(path).register_forward_hook(keep))
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(clip)
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return outputs
