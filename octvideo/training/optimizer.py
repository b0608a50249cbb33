"""The optimiser of a network: which parameters are trained, how fast, and which of them decay."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from octvideo.errors import InputError
from octvideo.training.settings import OPTIMIZERS


def freeze_backbone(network: nn.Module, head: str) -> None:
    """Leaves gradients to the classifying layer alone, whose path is `head`; InputError where it is not known."""
    if not head:
        raise InputError(
            f"backbone_lr_factor is 0, allowed for {type(network).__name__} is above 0: none of its layers is named "
            f"proj, "
            "fc, head or classifier"
        )
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(f"{head}."))


def norms(network: nn.Module) -> Iterable[_NormBase]:
    """The layers with running statistics, `SyncBatchNorm` included."""
    return (module for module in network.modules() if isinstance(module, _NormBase))


def unset_zero_init(network: nn.Module) -> None:
    """Norms that start at 0, the last ones of residual and non-local blocks (arXiv 1706.02677), start at 1."""
    for norm in norms(network):
        if isinstance(norm.weight, nn.Parameter) and not norm.weight.any():
            nn.init.ones_(norm.weight)


def parameter_groups(
    network: nn.Module,
    head: str,
    *,
    lr: float,
    backbone_lr_factor: float,
    weight_decay: float,
    decay_norms: bool,
) -> list[dict[str, Any]]:
    """Groups of trained parameters by learning rate and weight decay.

    Norm layers are those that do not decay, as in PySlowFast's `construct_optimizer` (BN.WEIGHT_DECAY is 0 in its
    recipes); biases of other layers do.

    Args:
        head: the path of the classifying layer; all others are the backbone.
        lr: of the classifying layer; the backbone's is `backbone_lr_factor` times that.
        weight_decay: of kernels and biases.
        decay_norms: whether norm layers decay too.
    """
    of_norms = {id(parameter) for norm in norms(network) for parameter in norm.parameters(recurse=False)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = lr if name.startswith(f"{head}.") else lr * backbone_lr_factor
            decay = weight_decay if decay_norms or id(parameter) not in of_norms else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def build_optimizer(
    name: str,
    groups: list[dict[str, Any]],
    *,
    momentum: float,
    nesterov: bool,
    betas: tuple[float, float],
) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW.

    Raises:
        ValueError: another name.
    """
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov)
    if name == "adamw":
        return torch.optim.AdamW(groups, betas=betas)
    raise InputError(f"optimizer is {name!r}, allowed: {', '.join(OPTIMIZERS)}")
