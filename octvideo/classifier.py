"""VideoClassifier: how a video model is trained and scored, as a LightningModule of plain scalars.

The network is a plain `nn.Module` from `octvideo.models.create_model`; it is `VideoClassifier.network` and takes
`float (B, 3, T, H, W)`. Shapes below: B videos, V views a video, T frames, C classes.
"""

import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

import octvideo
from octvideo.evaluation.partial import PartialScores
from octvideo.evaluation.scores import ScoreCollector, VideoScores, accuracy_at, mean_over_views
from octvideo.models import create_model
from octvideo.models.checkpoints import CheckpointError, load_weights, read_checkpoint

NUM_WAITS, SLOW_DATA_SHARE = 50, 0.3  # steps looked at, and the share that is worth a warning
CARD_KEY = "octvideo"  # what this toolkit adds to a Lightning checkpoint


def learning_rate_at(
    step: int, *, num_steps: int, warmup_steps: int, lr: float, warmup_start_lr: float
) -> float:
    """The learning rate of one optimiser step: half a cosine to 0, with a linear warm-up onto it.

    The cosine runs over the whole training, warm-up included, and the warm-up ends on it: the schedule of
    SlowFast (arXiv 1812.03982, section 4.1) as its authors' code has it.

    Args:
        step: from 0 to `num_steps - 1`.
        num_steps: optimiser steps of the whole training.
        warmup_steps: steps before the cosine is reached.
        lr: the cosine's value at step 0.
        warmup_start_lr: the warm-up's value at step 0.
    """

    def cosine(at: int) -> float:
        return 0.5 * lr * (1.0 + math.cos(math.pi * min(at, num_steps) / num_steps))

    if step < warmup_steps:
        return warmup_start_lr + (cosine(warmup_steps) - warmup_start_lr) * step / warmup_steps
    return cosine(step)


class NonFiniteLossError(ArithmeticError):
    """The training loss is not a number; the text, one line, names the batch's videos."""


class VideoClassifier(LightningModule):
    """Trains and scores one of the networks of `octvideo models`.

    Args:
        name: a model of `octvideo models`.
        alpha: the octave ratio, 0 (dense) to 1; any value runs the same weights.
        num_classes: the number of classes.
        lr: the learning rate at its peak, for the batch in use or, if `lr_batch_size` is given, for that one.
        lr_batch_size: clips of a step that `lr` belongs to; for another global batch (clips a process x processes x
            accumulated batches) the learning rates are scaled in proportion (arXiv 1706.02677). None: not scaled.
        momentum: of SGD.
        nesterov: whether the momentum is Nesterov's.
        weight_decay: of convolution and linear kernels.
        decay_norms: whether norm layers and biases decay too.
        warmup_epochs: length of the linear warm-up, which may be a fraction of an epoch.
        warmup_start_lr: the learning rate that the warm-up starts from.
        label_smoothing: of the cross-entropy, 0 to 1.
        view_batch_size: views of one video that pass through the network together in test and predict; it bounds
            memory and changes no result.
        checkpoint: a file of weights to start from: pytorchvideo's, PySlowFast's, a state dict, a Lightning
            checkpoint, safetensors. A head for another number of classes starts anew.

    Raises:
        ValueError: an argument is outside its range.
        CheckpointError: the weights to start from do not fit.
    """

    def __init__(
        self,
        name: str = "i3d_r50",
        alpha: float = 0.0,
        num_classes: int = 400,
        *,
        lr: float = 0.1,
        lr_batch_size: int | None = None,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 1e-4,
        decay_norms: bool = False,
        warmup_epochs: float = 0.0,
        warmup_start_lr: float = 0.01,
        label_smoothing: float = 0.0,
        view_batch_size: int = 8,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        _check_range("lr", lr, lr > 0, "above 0")
        _check_range(
            "lr_batch_size", lr_batch_size, lr_batch_size is None or lr_batch_size > 0, "above 0, or none"
        )
        _check_range("momentum", momentum, 0 <= momentum < 1, "from 0 to below 1")
        _check_range("nesterov", nesterov, not nesterov or momentum > 0, "false when momentum is 0")
        _check_range("weight_decay", weight_decay, weight_decay >= 0, "0 or more")
        _check_range("warmup_epochs", warmup_epochs, warmup_epochs >= 0, "0 or more")
        _check_range("warmup_start_lr", warmup_start_lr, warmup_start_lr >= 0, "0 or more")
        _check_range("label_smoothing", label_smoothing, 0 <= label_smoothing < 1, "from 0 to below 1")
        _check_range("view_batch_size", view_batch_size, view_batch_size >= 1, "1 or more")
        # The weights to start from are in what is saved; their file may be gone by then.
        self.save_hyperparameters(ignore=["checkpoint"])
        self.name = name
        self.alpha = alpha
        self.num_classes = num_classes
        self.lr = lr
        self.lr_batch_size = lr_batch_size
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.decay_norms = decay_norms
        self.warmup_epochs = warmup_epochs
        self.warmup_start_lr = warmup_start_lr
        self.view_batch_size = view_batch_size
        # Channels last is the layout of the fast 3D kernels, on the CPU as on the GPU.
        network = create_model(name, alpha=alpha, num_classes=num_classes)
        self.network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.load_report = load_weights(self.network, checkpoint) if checkpoint else None
        self.loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        # Preprocessing and class names, once a checkpoint or a data module is met.
        self.card: dict[str, Any] = {}
        self.test_result: VideoScores | None = None
        self.predict_result: VideoScores | None = None
        # Where a test keeps the scores it has, and takes those it had; `octvideo test` sets it.
        self.partial: PartialScores | None = None
        self._collector = ScoreCollector(num_classes)
        self._batch_end_seconds: float | None = None
        self._data_seconds = 0.0
        self.schedule = ""  # in words, once the length of the training is known
        self._waits: list[float] = []
        self._last_loss: tuple[Tensor, Tensor, int] | None = None
        self.test_data_seconds = 0.0  # of the last test, waiting for videos

    def forward(self, clip: Tensor) -> Tensor:
        """`(B, 3, T, H, W)` to logits `(B, C)`."""
        return self.network(clip.contiguous(memory_format=torch.channels_last_3d))

    # Training

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        logits = self(batch["clip"])
        loss = self.loss(logits, batch["label"])
        # Looked at a step later, when it has long been computed: nothing waits for it.
        self._check_finite()
        self._last_loss = (loss.detach(), batch["video"], self.trainer.global_step)
        size = len(batch["label"])
        top1 = (logits.detach().argmax(dim=1) == batch["label"]).float().mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        self.log("train/top1", top1, on_step=False, on_epoch=True, batch_size=size)
        self.log("lr", self.optimizers().param_groups[0]["lr"], batch_size=size)  # type: ignore[union-attr]
        return loss

    def _check_finite(self) -> None:
        """Raises NonFiniteLossError, with the videos of its batch, if the last loss was no number."""
        if self._last_loss is None or torch.isfinite(self._last_loss[0]):
            return
        loss, videos, step = self._last_loss
        paths = getattr(getattr(self.trainer, "datamodule", None), "paths", None)
        listed = paths("train") if paths else None
        names = [listed[video] if listed else f"video {video}" for video in videos.tolist()]
        raise NonFiniteLossError(
            f"the loss is {float(loss)} at step {step}, of the videos {', '.join(names)}"
        )

    def on_train_epoch_end(self) -> None:
        self._check_finite()
        self._last_loss = None

    def on_train_start(self) -> None:
        self.print(self.schedule)

    def on_train_epoch_start(self) -> None:
        self._batch_end_seconds = None  # what lies between two epochs is not a step

    def on_validation_end(self) -> None:
        self._batch_end_seconds = None  # nor is a validation in the middle of an epoch

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        self._data_seconds = 0.0 if self._batch_end_seconds is None else now - self._batch_end_seconds

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        if self._batch_end_seconds is not None:
            step_seconds = now - self._batch_end_seconds
            self.log("train/data_seconds", self._data_seconds)
            self.log("train/step_seconds", step_seconds)
            self.log("train/data_share", self._data_seconds / step_seconds, prog_bar=True)
            self._warn_of_slow_data(self._data_seconds / step_seconds)
        self._batch_end_seconds = now

    def _warn_of_slow_data(self, share: float) -> None:
        """Once a training, when the first `NUM_WAITS` steps have spent much of their time waiting."""
        if len(self._waits) >= NUM_WAITS:
            return
        self._waits.append(share)
        mean = sum(self._waits) / len(self._waits)
        if len(self._waits) == NUM_WAITS and mean > SLOW_DATA_SHARE:
            rank_zero_warn(
                f"training waits for data {mean:.0%} of the time; more decoding processes (data.num_workers), "
                "videos resized to a short side of 256 to 320 pixels, or a faster disk would help"
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        decayed = [p for p in self.parameters() if p.requires_grad and (p.ndim > 1 or self.decay_norms)]
        others = [p for p in self.parameters() if p.requires_grad and not (p.ndim > 1 or self.decay_norms)]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        scale = self.lr_scale()
        peak, start = scale * self.lr, scale * self.warmup_start_lr
        optimizer = torch.optim.SGD(
            [group for group in groups if group["params"]],
            lr=peak,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )
        num_steps, warmup_steps = self._schedule_steps()
        scaled = f" ({self.lr:g} for {self.lr_batch_size} clips, x {scale:g})" if self.lr_batch_size else ""
        warm = f"warm-up of {warmup_steps} from {start:g}, " if warmup_steps else ""
        self.schedule = (
            f"{num_steps} steps: {warm}cosine of {peak:g}{scaled} to 0; weight decay {self.weight_decay:g}"
        )

        def factor(step: int) -> float:
            return (
                learning_rate_at(
                    step,
                    num_steps=num_steps,
                    warmup_steps=warmup_steps,
                    lr=peak,
                    warmup_start_lr=start,
                )
                / peak
            )

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def lr_scale(self) -> float:
        """What `lr` and `warmup_start_lr` are multiplied with for the global batch in use."""
        if self.lr_batch_size is None:
            return 1.0
        clips = getattr(getattr(self.trainer, "datamodule", None), "batch_size", None)
        if clips is None:
            raise ValueError(
                f"lr_batch_size is {self.lr_batch_size}, allowed: none, where the data has no batch_size"
            )
        return clips * self.trainer.world_size * self.trainer.accumulate_grad_batches / self.lr_batch_size

    def _schedule_steps(self) -> tuple[int, int]:
        """Optimiser steps of the training and of its warm-up."""
        num_steps = self.trainer.estimated_stepping_batches
        if math.isinf(num_steps):
            raise ValueError(
                "trainer.max_epochs and trainer.max_steps are both -1, one must end the training"
            )
        epoch_steps = max(
            1, math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        )
        warmup_steps = round(self.warmup_epochs * epoch_steps)
        if getattr(self.trainer, "fast_dev_run", False):  # a smoke test of a long recipe
            warmup_steps = min(warmup_steps, int(num_steps))
        if warmup_steps > num_steps:
            raise ValueError(
                f"model.warmup_epochs is {self.warmup_epochs:g} ({warmup_steps} steps), allowed: at most the length "
                f"of the training, {num_steps / epoch_steps:g} epochs ({int(num_steps)} steps)"
            )
        return int(num_steps), warmup_steps

    # Evaluation: validation is a test with one view

    def view_probabilities(self, clip: Tensor) -> Tensor:
        """Class probabilities of one video, `(V, 3, T, H, W)` to `float64 (C,)`.

        `view_batch_size` views at a time; the result does not depend on how videos were batched.
        """
        logits = [self(views) for views in clip.split(self.view_batch_size)]
        return mean_over_views(torch.cat(logits))

    def on_validation_epoch_start(self) -> None:
        self._collector = ScoreCollector(self.num_classes)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._collector.add_errors(batch.get("errors", []))
        if "clip" not in batch:  # no video of this batch could be read
            return
        clip, label = batch["clip"], batch["label"]
        num_videos, num_views = clip.shape[:2]
        logits = torch.cat(
            [self(views) for views in clip.flatten(0, 1).split(max(num_videos, self.view_batch_size))]
        )
        logits = logits.float().unflatten(0, (num_videos, num_views))
        probabilities = logits.softmax(dim=-1).mean(dim=1)
        if (label >= 0).all():
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), label.repeat_interleave(num_views))
            self.log("val/loss", loss, batch_size=num_videos, sync_dist=True)
        for video, one_label, one in zip(
            batch["video"].tolist(), label.tolist(), probabilities.cpu(), strict=True
        ):
            self._collector.add(video, one_label, one, num_views)

    def on_validation_epoch_end(self) -> None:
        scores = self._collector.gather()
        if scores.errors:
            rank_zero_warn(
                f"{len(scores.errors)} of {scores.num_listed} validation videos are unreadable and in no number: "
                + "; ".join(text for _, text in scores.errors)
            )
        self.log("val/top1", accuracy_at(scores, 1), prog_bar=True)
        self.log("val/top5", accuracy_at(scores, 5))

    def on_test_start(self) -> None:
        self.test_data_seconds = 0.0
        self._batch_end_seconds = time.perf_counter()

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.test_data_seconds += time.perf_counter() - (self._batch_end_seconds or 0.0)

    def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._batch_end_seconds = time.perf_counter()

    def on_test_epoch_start(self) -> None:
        self._collector = ScoreCollector(self.num_classes)
        self.test_result = None
        for video, label, scores, num_views in self.partial.read() if self.partial else ():
            self._collector.add(video, label, torch.from_numpy(scores), num_views)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._collector.add_errors(batch.get("errors", []))
        for video, label, probabilities, num_views in self._score_batch(batch):
            self._collector.add(video, label, probabilities, num_views)
            if self.partial:
                self.partial.append(video, label, probabilities.numpy(), num_views)

    def on_test_epoch_end(self) -> None:
        self.test_result = self._collector.gather()
        self.log("test/top1", accuracy_at(self.test_result, 1))
        self.log("test/top5", accuracy_at(self.test_result, 5))

    def on_predict_epoch_start(self) -> None:
        self._collector = ScoreCollector(self.num_classes)
        self.predict_result = None

    def on_predict_epoch_end(self) -> None:
        self.predict_result = self._collector.gather()

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """`{"video": list[int], "probabilities": float64 (B, C), "errors": list[(video, text)]}`."""
        scored = self._score_batch(batch)
        self._collector.add_errors(batch.get("errors", []))
        for video, label, probabilities, num_views in scored:
            self._collector.add(video, label, probabilities, num_views)
        empty = torch.zeros(0, self.num_classes, dtype=torch.float64)
        return {
            "video": [video for video, _, _, _ in scored],
            "probabilities": torch.stack([one for _, _, one, _ in scored]) if scored else empty,
            "errors": list(batch.get("errors", [])),
        }

    def _score_batch(self, batch: dict[str, Any]) -> list[tuple[int, int, Tensor, int]]:
        """`(video, label, probabilities, views)` of every readable video."""
        if "clip" not in batch:
            return []
        return [
            (video, label, self.view_probabilities(clip), len(clip))
            for clip, label, video in zip(
                batch["clip"], batch["label"].tolist(), batch["video"].tolist(), strict=True
            )
        ]

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the model card: what the pixels went through, and the names of the classes."""
        data = getattr(self._trainer, "datamodule", None) if self._trainer else None
        self.card = dict(getattr(data, "preprocessing", None) or self.card)
        checkpoint[CARD_KEY] = {"version": octvideo.__version__, "card": self.card}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises CheckpointError, one line, if the checkpoint does not fit this module or its data."""
        path = self._trainer.ckpt_path if self._trainer else None
        check_checkpoint(checkpoint, self, str(Path(path).absolute()) if path else "checkpoint")
        card = (checkpoint.get(CARD_KEY) or {}).get("card") or {}
        data = getattr(self._trainer, "datamodule", None) if self._trainer else None
        check_class_names(card, getattr(data, "class_names", None), path or "checkpoint")
        self.card = card


def check_checkpoint(checkpoint: dict[str, Any], classifier: VideoClassifier, path: str | Path) -> None:
    """Raises CheckpointError naming the file and the first thing in it that does not fit the classifier."""
    known = checkpoint.get("hyper_parameters") or {}
    for key in ("name", "num_classes"):
        if key in known and known[key] != getattr(classifier, key):
            raise CheckpointError(
                f"{path} does not fit: its {key} is {known[key]}, the model's is {getattr(classifier, key)}"
            )
    theirs, ours = checkpoint.get("state_dict"), classifier.state_dict()
    if not isinstance(theirs, dict):
        raise CheckpointError(f"{path} does not fit: it has no state_dict")
    missing = [key for key in ours if key not in theirs]
    unexpected = [key for key in theirs if key not in ours]
    reshaped = [key for key in ours if key in theirs and theirs[key].shape != ours[key].shape]
    if reshaped:
        key = reshaped[0]
        raise CheckpointError(
            f"{path} does not fit: {key} is {tuple(theirs[key].shape)}, the model's is {tuple(ours[key].shape)}"
            + _and_more(reshaped)
        )
    if missing:
        raise CheckpointError(f"{path} does not fit: it lacks {missing[0]}" + _and_more(missing))
    if unexpected:
        raise CheckpointError(f"{path} does not fit: it has {unexpected[0]} too" + _and_more(unexpected))


def check_class_names(card: dict[str, Any], class_names: Any, path: str | Path) -> None:
    """Raises CheckpointError if the data's classes are not the checkpoint's, in its order."""
    theirs = list(card.get("class_names") or [])
    ours = list(class_names or [])
    if not theirs or not ours or theirs == ours:
        return
    if len(theirs) != len(ours):
        raise CheckpointError(f"{path} knows {len(theirs)} classes, the data's class list has {len(ours)}")
    row = next(i for i, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a != b)
    what = "has them in another order" if sorted(theirs) == sorted(ours) else "has other classes"
    raise CheckpointError(
        f"{path}: the data's class list {what} than the checkpoint: class {row} is {ours[row]!r}, was {theirs[row]!r}"
    )


def load_classifier(path: str | Path, **changes: Any) -> VideoClassifier:
    """The classifier of a checkpoint that `octvideo fit` wrote, with its card in `.card`.

    Args:
        path: the checkpoint.
        changes: hyperparameters to change, `alpha=0.25` say; the weights must fit the result.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is not such a checkpoint, or does not fit.
    """
    checkpoint = read_checkpoint(path)
    file = Path(path).expanduser().absolute()
    if not isinstance(checkpoint.get("hyper_parameters"), dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{file}: not a checkpoint of `octvideo fit`, it has no hyper_parameters")
    known = {key: value for key, value in checkpoint["hyper_parameters"].items() if not key.startswith("_")}
    try:
        classifier = VideoClassifier(**{**known, "checkpoint": None, **changes})
    except TypeError as error:
        raise CheckpointError(
            f"{file}: its hyper_parameters are not a VideoClassifier's ({error})"
        ) from error
    check_checkpoint({**checkpoint, "hyper_parameters": {}}, classifier, file)
    classifier.load_state_dict(checkpoint["state_dict"])
    classifier.card = (checkpoint.get(CARD_KEY) or {}).get("card") or {}
    return classifier.eval()


def _and_more(keys: list[str]) -> str:
    return f" (and {len(keys) - 1} more like it)" if len(keys) > 1 else ""


def _check_range(name: str, value: Any, fits: bool, allowed: str) -> None:
    if not fits:
        raise ValueError(f"{name} is {value}, allowed: {allowed}")
