"""Batch-norm statistics of the weights as they are, before each validation.

The running averages lag behind the weights; here they are replaced by the mean and the variance of all that a layer
sees over some training batches, as PySlowFast's BN.USE_PRECISE_STATS does with fvcore's `update_bn_stats`: the variance
is that of the batches put together (arXiv 2105.07576, section 3.1 and appendix), not the mean of theirs, which leaves
out how far their means lie apart.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from octvideo.errors import InputError
from octvideo.layers.norm import Channels, watchers
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
        if getattr(trainer, "datamodule", None) is None:
            raise InputError(
                f"precise_norm_batches is {self.num_batches}, allowed without a data module is 0"
            )
        # A loader of its own, since the training's may be in the middle of an epoch.
        batches = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        clips = (
            trainer.strategy.batch_to_device(batch, dataloader_idx=0)["clip"]
            for batch in islice(_whole_epochs(batches), self.num_batches)
        )

        def mean_over_processes(value: Tensor) -> Tensor:
            return trainer.strategy.reduce(value.clone(), reduce_op="mean")

        with trainer.precision_plugin.forward_context():
            recompute_statistics(_EveryAlpha(pl_module), clips, mean_over_processes)


class _EveryAlpha(nn.Module):
    """Runs a classifier at all of its alphas."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, clip: Tensor) -> None:
        for alpha in self.classifier.alphas or (None,):
            self.classifier(clip, alpha)


def _whole_epochs(batches: Any) -> Iterator[Any]:
    epoch = 0
    while True:
        # Orders that the training does not use, the same for every validation.
        batches.sampler.set_epoch(1_000_000 + epoch)
        yield from batches
        epoch += 1


@torch.no_grad()
def recompute_statistics(
    model: nn.Module, batches: Iterable[Tensor], mean_over_processes: Callable[[Tensor], Tensor] = torch.clone
) -> None:
    """Sets the running statistics of a network's norm layers to those of all that they see, put together.

    The variance is E[x^2] - E[x]^2 over all pixels of all batches. In an octave network each frequency makes the
    statistics of its own rows.

    Args:
        model: called with each batch.
        batches: `(B, 3, T, H, W)` each.
        mean_over_processes: of a tensor, where several processes have batches of their own.
    """
    # Pixels, and sums over them of the value and of its square, by channel.
    sums = {
        layer: torch.zeros_like(layer.running_mean, dtype=torch.float64).repeat(3, 1)
        for layer in norms(model)
        if layer.running_mean is not None
    }

    def add(layer: _NormBase, x: Tensor, rows: Channels) -> None:
        count = x.numel() // x.shape[1]
        var, mean = torch.var_mean(x.float(), [0, *range(2, x.ndim)], correction=0)
        mean, var = mean.double(), var.double()
        sums[layer][:, rows] += count * torch.stack([torch.ones_like(mean), mean, var + mean.square()])

    def before(layer: Any, inputs: tuple[Any, ...]) -> None:
        # Of an octave tensor, and of its parts, `batch_norm` tells.
        if isinstance(inputs[0], Tensor) and inputs[0].shape[1] == layer.num_features:
            add(layer, inputs[0], slice(None))

    hooks = [layer.register_forward_pre_hook(before) for layer in sums]
    training = {layer: layer.training for layer in sums}
    watchers.append(add)
    try:
        for layer in sums:
            layer.training = True
        with torch.compiler.set_stance("force_eager"):  # hooks are not compiled
            for batch in batches:
                model(batch)
    finally:
        watchers.remove(add)
        for hook in hooks:
            hook.remove()
        for layer, was in training.items():
            layer.training = was
    for layer, of_layer in sums.items():
        count, total, square = mean_over_processes(of_layer)
        if count.all():  # else the network does not use it
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.copy_(total / count)
            layer.running_var.copy_(square / count - (total / count).square())
