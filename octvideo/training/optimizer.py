"""The optimiser of a network: which parameters decay, and by how much."""

from typing import Any

import torch
from torch import nn


def parameter_groups(model: nn.Module, *, decay_norms: bool) -> list[dict[str, Any]]:
    """Parameters that decay, and those of norm layers and biases, which decay only if `decay_norms`."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1 or decay_norms]
    others = [parameter for parameter in trained if not (parameter.ndim > 1 or decay_norms)]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def sgd(
    model: nn.Module, *, lr: float, momentum: float, nesterov: bool, weight_decay: float, decay_norms: bool
) -> torch.optim.SGD:
    return torch.optim.SGD(
        parameter_groups(model, decay_norms=decay_norms),
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
    )
