"""Batch-norm statistics of the weights as they are, before each validation.

The running averages lag behind the weights; here they are replaced by the plain mean over some training batches, as
PySlowFast's BN.USE_PRECISE_STATS. https://arxiv.org/abs/2105.07576, section 3.1.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from octvideo.training.optimizer import norms


class PreciseNorms(Callback):
    """Recomputes the statistics of all norm layers on training clips before a validation.

    Args:
        num_batches: training batches a process.
    """

    def __init__(self, num_batches: int) -> None:
        self.num_batches = num_batches

    # Not on_validation_start: the averaged weights, where there are some, come in at the epoch's start.
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        # A loader of its own, since the training's may be in the middle of an epoch.
        batches = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        layers = list(norms(pl_module))
        with torch.no_grad(), _cumulative(layers), trainer.precision_plugin.forward_context():
            for batch in islice(_whole_epochs(batches), self.num_batches):
                pl_module(trainer.strategy.batch_to_device(batch, dataloader_idx=0)["clip"])
        for layer in layers:
            for name in ("running_mean", "running_var"):
                # Every process has seen as many batches, so the mean of means is the mean over all.
                value = getattr(layer, name)
                value.copy_(trainer.strategy.reduce(value.clone(), reduce_op="mean"))


def _whole_epochs(batches: Any) -> Iterator[Any]:
    epoch = 0
    while True:
        # Orders that the training does not use, the same for every validation.
        batches.sampler.set_epoch(1_000_000 + epoch)
        yield from batches
        epoch += 1


@contextmanager
def _cumulative(layers: list[nn.Module]) -> Iterator[None]:
    """Norm layers that average the batches they see, starting anew."""
    before: list[tuple[nn.Module, Any, bool]] = []
    for layer in layers:
        before.append((layer, layer.momentum, layer.training))
        layer.reset_running_stats()  # type: ignore[operator]
        layer.momentum = None  # type: ignore[assignment]
        layer.training = True
    try:
        yield
    finally:
        for layer, momentum, training in before:
            layer.momentum, layer.training = momentum, training
