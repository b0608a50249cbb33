"""How a network is trained: loss, optimiser, schedule and what watches over them, as a LightningModule."""

import os
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from octvideo.errors import InputError, OctvideoError
from octvideo.models import for_training
from octvideo.training.alphas import AlphaNetworks, sandwich, sandwich_loss
from octvideo.training.average import MovingAverage
from octvideo.training.clock import StepClock
from octvideo.training.loss import ClassLoss, balanced_weights, hits
from octvideo.training.optimizer import build_optimizer, norms, parameter_groups
from octvideo.training.precise_norms import PreciseNorms
from octvideo.training.recompute import recompute_activations
from octvideo.training.schedule import Schedule, lr_scale, schedule_of
from octvideo.training.settings import CLASS_WEIGHTS


class NonFiniteLossError(OctvideoError, ArithmeticError):
    """The training loss is not a number; the text, one line, names the batch's videos."""


class TrainedModule(LightningModule):
    """What of VideoClassifier concerns training; its settings are those of `hparams`.

    Attributes:
        network: the network, made by the subclass.
        networks: of several alphas on the same weights, `network` among them; None where it is of one.
        alphas: of `networks`; empty where there are none.
        head: the path in it of the layer that classifies, made by the subclass.
        blocks: a regular expression for the paths of its residual blocks, made by the subclass.
        loss: of logits `(B, C)` and class numbers `(B,)` or shares `(B, C)`, made by the subclass.
        monitor: the logged number by which a checkpoint is the best.
        schedule: the schedule in words, once the length of the training is known.
    """

    network: nn.Module
    networks: AlphaNetworks | None
    alphas: tuple[float, ...]
    head: str
    blocks: str
    loss: ClassLoss
    monitor = "val/top1"

    def __init__(self) -> None:
        super().__init__()
        self.schedule = ""
        self._is_prepared = False  # the networks, by `_prepare`
        self._losses: list[tuple[Tensor, Tensor | None, int]] = []  # not looked at yet

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> dict[str, Any]:
        """A batch by its parts' names: a loader of one's own may give `(clip, label)` or `(clip, label, video)`."""
        return (
            batch if isinstance(batch, dict) else dict(zip(("clip", "label", "video"), batch, strict=False))
        )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        clip, label = batch["clip"], batch["label"]
        if not self.alphas:
            logits = self(clip)
            loss = self.loss(logits, label)
        else:
            alphas = sandwich(self.alphas, self.trainer.current_epoch + batch_idx)
            loss, logits = sandwich_loss(lambda alpha: self(clip, alpha), alphas, label, self.loss)
        self._losses.append((loss.detach(), batch.get("video"), self.trainer.global_step))
        # Whoever looks at a number on a GPU waits until all that was asked of it is done.
        every = getattr(self.trainer, "log_every_n_steps", 0) or 50  # absent from the type hints
        if self.device.type == "cpu" or len(self._losses) >= every:
            self.check_finite()
        size = len(label)
        top1 = hits(logits, label, multi_label=self.loss.multi_label).float().mean()
        # For a progress bar Lightning looks at a number in every step; octvideo's add the loss when they look.
        self.log("train/loss", loss, prog_bar=self.device.type == "cpu", batch_size=size)
        self.log("train/top1", top1, on_step=False, on_epoch=True, batch_size=size)
        groups = self.optimizers().param_groups  # type: ignore[union-attr]
        self.log("lr", torch.tensor(max(group["lr"] for group in groups)), batch_size=size)
        return loss

    def check_finite(self) -> None:
        """Raises NonFiniteLossError, with the videos of its batch, if a loss since the last look was no number."""
        losses, self._losses = self._losses, []
        if not losses or torch.isfinite(torch.stack([loss for loss, _, _ in losses])).all():
            return
        loss, videos, step = next(entry for entry in losses if not torch.isfinite(entry[0]))
        if videos is None:
            raise NonFiniteLossError(f"the loss is {float(loss)} at step {step}")
        paths = getattr(getattr(self.trainer, "datamodule", None), "paths", None)
        listed = paths("train") if paths else None
        names = [listed[video] if listed else f"video {video}" for video in videos.tolist()]
        raise NonFiniteLossError(
            f"the loss is {float(loss)} at step {step}, of the videos {', '.join(names)}"
        )

    def on_train_epoch_end(self) -> None:
        self.check_finite()

    def _weigh_classes(self) -> None:
        """Gives the loss its class weights; balanced ones are counted in the training's manifest."""
        weights = self.hparams["class_weights"]
        if weights == "balanced":
            counts = getattr(getattr(self.trainer, "datamodule", None), "class_counts", None)
            if counts is None:
                raise InputError(
                    "class_weights is balanced, which needs a data module that counts its classes; allowed without are "
                    + CLASS_WEIGHTS.format(**self.hparams)
                )
            weights = balanced_weights(counts())
        self.loss.weight = None if weights is None else torch.as_tensor(weights, device=self.device)

    def on_train_start(self) -> None:
        self._weigh_classes()
        self.print(self.schedule)
        # Not before, since the strategy may have put other norm layers into their places.
        if not self._is_prepared:
            self._is_prepared = True
            for network in self.networks or [self.network]:
                self._prepare(network)
        if self.hparams["compile"]:
            for network in self.networks or [self.network]:
                network.compile()

    def _prepare(self, network: nn.Module) -> None:
        runner = for_training(network)
        if self.hparams["checkpoint_activations"]:
            recompute_activations(runner, self.blocks)
        if runner is not network:  # no submodule: the parameters stay where they are
            network.__dict__["forward"] = runner.forward

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout's numbers follow from the step, so that a resumed training goes on with the same ones.
        if (seed := os.environ.get("PL_GLOBAL_SEED")) is not None:
            state = np.random.SeedSequence(
                [int(seed), self.trainer.current_epoch, batch_idx, self.global_rank]
            )
            torch.manual_seed(int(state.generate_state(1)[0]))

    def train(self, mode: bool = True) -> "TrainedModule":
        super().train(mode)
        if self.hparams["freeze_norms"] or self.hparams["backbone_lr_factor"] == 0:
            for norm in norms(self.network):
                norm.eval()
        return self

    def configure_callbacks(self) -> list[Callback]:
        callbacks: list[Callback] = [StepClock()]
        if self.trainer.state.fn != "fit":
            return callbacks
        if self.hparams["ema_decay"]:
            callbacks.append(MovingAverage(decay=self.hparams["ema_decay"]))
        if self.hparams["precise_norm_batches"]:
            callbacks.append(PreciseNorms(self.hparams["precise_norm_batches"]))
        return callbacks

    def configure_optimizers(self) -> OptimizerLRScheduler:
        settings = self.hparams
        scale = lr_scale(self.trainer, settings["lr_batch_size"])
        peak = scale * settings["lr"]
        groups = parameter_groups(
            self.network,
            self.head,
            lr=peak,
            backbone_lr_factor=settings["backbone_lr_factor"],
            weight_decay=settings["weight_decay"],
            decay_norms=settings["decay_norms"],
        )
        optimizer = build_optimizer(
            settings["optimizer"],
            groups,
            momentum=settings["momentum"],
            nesterov=settings["nesterov"],
            betas=tuple(settings["betas"]),
        )
        curve = schedule_of(
            self.trainer,
            settings["schedule"],
            warmup_epochs=settings["warmup_epochs"],
            warmup_start=settings["warmup_start_lr"] / settings["lr"],
            drop_epochs=settings["drop_epochs"] or (),
            drop_factor=settings["drop_factor"],
        )
        self.schedule = self._in_words(curve, peak, scale)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, curve)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _in_words(self, curve: Schedule, peak: float, scale: float) -> str:
        """The schedule as it is in effect, in one line."""
        settings = self.hparams
        text = curve.in_words(peak)
        if settings["lr_batch_size"]:
            clips = round(scale * settings["lr_batch_size"])
            text += (
                f"; {clips} clips a step, learning rates x {scale:g} ({settings['lr']:g} for "
                f"{settings['lr_batch_size']})"
            )
        text += f"; {settings['optimizer']}, weight decay {settings['weight_decay']:g}"
        factor = settings["backbone_lr_factor"]
        if factor != 1:
            text += f", backbone at x {factor:g}" if factor else ", backbone frozen"
        if settings["ema_decay"]:
            text += f"; moving average of the weights, {settings['ema_decay']:g}"
        return text
