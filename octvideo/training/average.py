"""The moving average of a network's weights, which is what is validated and kept, on the device of the training."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(EMAWeightAveraging):
    """Lightning's exponential moving average, beside the weights and in a few launches a step.

    Lightning makes the averaged copy before the network is on its device, so that a GPU's weights would travel to the
    CPU in every step; and torch asks the device how often it has averaged.

    Args:
        decay: of the average, 0 to 1.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay)
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._average_model = _Average(pl_module, self.decay)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._average_model is not None
        self._average_model.module.to(pl_module.device)


class _Average(AveragedModel):
    """The averaged network; the number of averages stays on the host."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """`decay * average + (1 - decay) * weight`; the first weights, and counts of batches, as they are."""
        is_first = int(self.n_averaged) == 0
        averages, weights = _values(self.module), _values(model)
        is_mean = [x.is_floating_point() and not is_first for x in averages]
        for mean in (False, True):
            mine, theirs = (
                [x for x, one in zip(values, is_mean, strict=True) if one == mean]
                for values in (averages, weights)
            )
            if not mine:
                continue
            if mean:
                torch._foreach_mul_(mine, self.decay)
                torch._foreach_add_(mine, theirs, alpha=1 - self.decay)
            else:
                torch._foreach_copy_(mine, theirs)
        self.n_averaged += 1


def _values(model: nn.Module) -> list[Any]:
    return [x.detach() for x in (*model.parameters(), *model.buffers())]
