"""VideoClassifier: how a video model is trained and scored, as a LightningModule of plain scalars.

The network is a plain `nn.Module` from `octvideo.models.create_model`; it is `VideoClassifier.network` and takes
`float (B, 3, T, H, W)`: B clips, T frames. How it is trained is in `octvideo.training.module`, how it is scored in
`octvideo.evaluation.module`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import octvideo
from octvideo.card import NETWORK, RECIPE, Card
from octvideo.errors import InputError
from octvideo.evaluation.module import ScoredModule
from octvideo.limits import check_numbers
from octvideo.models import MODELS, create_model, get_spec, octavize, open_weights
from octvideo.models.checkpoints import CARD_KEY, NORMS_KEY, CheckpointError, LoadReport, check_fit
from octvideo.models.classes import REORDERED, class_order, reorder_classes, reordered
from octvideo.models.head import find_head
from octvideo.models.inflate import inflate_file
from octvideo.models.pathways import MeanOverPositions
from octvideo.models.weights import card_of, largest_alpha, network_card, read_weights, take_norms
from octvideo.training.alphas import AlphaNetworks
from octvideo.training.loss import ClassLoss
from octvideo.training.module import TrainedModule
from octvideo.training.optimizer import freeze_backbone, unset_zero_init
from octvideo.training.restored import check_training
from octvideo.training.settings import check_range, check_settings


class VideoClassifier(TrainedModule, ScoredModule):
    """Trains and scores one of the networks of `octvideo models`, or one of one's own.

    Args:
        name: a model of `octvideo models`.
        alpha: the octave ratio, 0 (dense) to below 1; any value runs the same weights.
        alphas: octave ratios that are trained together, increasing: every step trains the least, the largest and one
            between (`octvideo.training.alphas`). `alpha` is one of them, that of `val/top1` and of evaluations that
            name none; each has norm statistics of its own.
        num_classes: the number of classes.
        channel_multiple: what the numbers of low channels are rounded to, as in `create_model`.
        layer_alphas: octave ratios of layers that have one of their own, as in `create_model`.
        network: instead of `name`, a network of one's own, `(B, 3, T, H, W)` to logits `(B, num_classes)`; with alpha
            above 0 it is made octave here, as `octvideo.octavize` does. Its class's name becomes `name`. A checkpoint
            holds its weights and not its code, so whoever loads one gives the network again.
        multi_label: whether a video may be of several classes: its scores are sigmoids instead of a softmax, the loss
            is the binary cross-entropy, and the number that counts is the mean average precision.
        optimizer: "sgd" or "adamw".
        lr: the learning rate at its peak, for the batch in use or, if `lr_batch_size` is given, for that one.
        lr_batch_size: clips of a step that `lr` belongs to; for another global batch (clips a process x processes x
            accumulated batches) the learning rates are scaled in proportion (arXiv 1706.02677). None: not scaled.
        backbone_lr_factor: the learning rate of all but the classifying layer, as a multiple of `lr`; 0 freezes
            these layers, with their norms' statistics.
        momentum: of SGD.
        nesterov: whether the momentum is Nesterov's.
        betas: of AdamW.
        weight_decay: of convolution and linear kernels and their biases.
        decay_norms: whether norm layers decay too.
        schedule: "cosine", to 0 at the end; or "step".
        drop_epochs: "step": when the learning rate drops, in epochs.
        drop_factor: "step": what it is multiplied with at each drop.
        warmup_epochs: length of the linear warm-up, which may be a fraction of an epoch.
        warmup_start_lr: the learning rate that the warm-up starts from.
        label_smoothing: of the cross-entropy, 0 to 1.
        class_weights: what each class counts in the loss, `num_classes` numbers; or "balanced", in inverse proportion
            to the classes' training videos.
        zero_init_norms: whether the last norm of each residual block of pytorchvideo's networks starts at 0, so that
            the block starts as the identity (arXiv 1706.02677), or at 1 as the others.
        freeze_norms: whether norm layers keep the statistics that they start with, for small batches.
        precise_norm_batches: training batches, a process, that the norms' statistics are computed on before each
            validation; 0 keeps the running averages.
        ema_decay: of an exponential moving average of the weights, which is what is validated and kept; 0 is none.
        compile: whether `torch.compile` runs the network in training.
        checkpoint_activations: whether residual blocks are computed again in the backward pass, which trades a
            third more time for memory.
        view_batch_size: views of one video that pass through the network together in test and predict; it bounds
            memory and changes no result.
        checkpoint: a file of weights to start from, of any kind that `octvideo.models.open_weights` reads; an exported
            network can be evaluated alone. A head for another number of classes starts anew.
        cascade: of an evaluation: a video is scored at the largest alpha that the checkpoint was trained at, and again,
            at `alpha`, where the probability of its best class is below this.
        image_checkpoint: a file of weights of torchvision's image ResNet of the same depth, to start from: kernels
            are inflated along time (arXiv 1705.07750). Layers without a counterpart start at random.

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
        channel_multiple: int = 1,
        layer_alphas: dict[str, float] | None = None,
        alphas: list[float] | None = None,
        network: nn.Module | None = None,
        multi_label: bool = False,
        optimizer: str = "sgd",
        lr: float = 0.1,
        lr_batch_size: int | None = None,
        backbone_lr_factor: float = 1.0,
        momentum: float = 0.9,
        nesterov: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 1e-4,
        decay_norms: bool = False,
        schedule: str = "cosine",
        drop_epochs: list[float] | None = None,
        drop_factor: float = 0.1,
        warmup_epochs: float = 0.0,
        warmup_start_lr: float = 0.01,
        label_smoothing: float = 0.0,
        class_weights: list[float] | str | None = None,
        zero_init_norms: bool = True,
        freeze_norms: bool = False,
        precise_norm_batches: int = 0,
        ema_decay: float = 0.0,
        compile: bool = False,
        checkpoint_activations: bool = False,
        view_batch_size: int = 8,
        checkpoint: str | None = None,
        image_checkpoint: str | None = None,
        cascade: float | None = None,
    ) -> None:
        super().__init__()
        check_numbers({"view_batch_size": view_batch_size})
        check_range(
            "image_checkpoint",
            image_checkpoint,
            not (checkpoint and image_checkpoint),
            "none with checkpoint",
        )
        if network is not None:
            name = type(network).__name__
        # The weights to start from are in what is saved; their file may be gone by then.
        self.save_hyperparameters(ignore=["checkpoint", "image_checkpoint", "network", "cascade"])
        self.hparams["name"] = name  # the command line's is that of the configuration
        check_settings({**self.hparams, "cascade": cascade})
        self.name = name
        self.alpha = alpha
        self.num_classes = num_classes
        self.channel_multiple = channel_multiple
        self.layer_alphas = layer_alphas or {}
        self.view_batch_size = view_batch_size
        made_of: dict[str, Any] = {
            "name": name,
            "alpha": alpha,
            "num_classes": num_classes,
            "channel_multiple": channel_multiple,
            "layer_alphas": self.layer_alphas,
        }
        self.load_report: LoadReport | None = None
        weights = read_weights(checkpoint) if checkpoint else None
        build: Callable[..., nn.Module] = partial(create_model, **made_of)  # at any alpha
        if network is not None:
            self.head, self.blocks = find_head(network), ""
            octave: dict[str, Any] = {"channel_multiple": channel_multiple, "layer_alphas": self.layer_alphas}
            build = partial(octavize, network, **octave)
        else:
            self.head, self.blocks = get_spec(name).head, get_spec(name).blocks
        if checkpoint:
            network, self.card, self.load_report = open_weights(checkpoint, network=network, **made_of)
        elif network is not None:
            self.card = Card(**made_of)
            if self.card.is_octave:
                network = build(alpha=alpha)
        else:
            network = create_model(**made_of)
            self.card = replace(get_spec(name).card, published=None, **made_of)
            if not zero_init_norms:
                unset_zero_init(network)
        self.card = replace(self.card, multi_label=multi_label)
        self.start_report = str(self.load_report or "")  # in words, for the screen
        if image_checkpoint:
            self.start_report = inflate_file(image_checkpoint, network)
        # Channels last is the layout of the fast 3D kernels, on the CPU as on the GPU.
        self.network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.cascade = cascade
        if cascade is not None:
            alphas = [alpha, largest_alpha(weights)]
            check_range("alpha", alpha, alpha < alphas[1], f"below {alphas[1]:g} with cascade")
        self.alphas = tuple(alphas or ())
        self.networks = None
        if alphas:
            networks = {at: self.network if at == alpha else build(alpha=at) for at in alphas}
            self.networks = AlphaNetworks(networks, self.network, weights.norms if weights else {})
        if backbone_lr_factor == 0:
            freeze_backbone(self.network, self.head)
        self.train()
        self.multi_label = multi_label
        self.loss = ClassLoss(multi_label=multi_label, label_smoothing=label_smoothing)
        MeanOverPositions.let(self, multi_label=multi_label)
        if multi_label:
            self.monitor = "val/mean_average_precision"
        self.start_scoring()

    def forward(self, clip: Tensor, alpha: float | None = None) -> Tensor:
        """`(B, 3, T, H, W)` to logits `(B, C)`, at one of `alphas` where it is named."""
        network = self.network if alpha is None or self.networks is None else self.networks.at(alpha)
        logits = network(clip.to(self.dtype, memory_format=torch.channels_last_3d))
        if logits.ndim != 2 or logits.shape[1] != self.num_classes:  # a network of one's own
            raise InputError(
                f"num_classes is {self.num_classes}, allowed is what the network gives: logits (B, C), here "
                f"{tuple(logits.shape)}"
            )
        return logits

    # Weights and their classes

    def setup(self, stage: str) -> None:
        """Lets the network of weights that were loaded give the data's classes, matched by name.

        Raises:
            CheckpointError: the weights know other classes, or another number; or cannot be trained.
            InputError: a cascade is to be trained.
        """
        check_range("cascade", self.cascade, self.cascade is None or stage != "fit", "none in a training")
        if self.load_report is None:
            return
        training, file = stage == "fit", self.load_report.file
        if training and next(self.network.parameters(), None) is None:
            raise CheckpointError(f"{file}: an exported network has no weights that could be trained")
        if not training:
            self.load_report.check_scores(self.num_classes)
        theirs, ours = self.card.class_names, self._of_data("class_names")
        if not theirs or not ours:
            return
        if set(theirs) != set(ours) and (training or self.load_report.names_assumed):
            if training:
                self.print("the head's classes have other names: it starts as it is, and learns the new ones")
        elif order := class_order(theirs, ours, file):
            self.network = reordered(self.network, self.head, order)
            self.print(REORDERED)
        self.card = replace(self.card, class_names=tuple(ours))

    def _of_data(self, name: str) -> Any:
        """An attribute of the data module, if there is a trainer that has one."""
        return getattr(getattr(self._trainer, "datamodule", None), name, None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the card: what the pixels went through, and the names of the classes."""
        self.check_finite()  # weights that are no numbers never replace good ones
        data = self._of_data("card")
        if data:
            recipe = {key: getattr(data, key) for key in RECIPE}
            self.card = replace(self.card, **recipe, class_names=data.class_names, published=None)
        if self.networks:
            checkpoint[NORMS_KEY] = self.networks.take_out(checkpoint["state_dict"])
        card = replace(self.card, version=octvideo.__version__)
        checkpoint[CARD_KEY] = {"version": card.version, "card": card.to_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises CheckpointError, one line, if the checkpoint does not fit this module or its data."""
        path = self._trainer.ckpt_path if self._trainer else None
        file = str(Path(path).absolute()) if path else "checkpoint"
        card = card_of(checkpoint, file)
        for key in ("name", "num_classes"):
            theirs, ours = getattr(card, key, None), getattr(self, key)
            if theirs not in (None, ours):
                raise CheckpointError(f"{file} does not fit: its {key} is {theirs}, the model's is {ours}")
        goes_on = self._trainer is not None and self._trainer.state.fn == "fit"
        if self._trainer is not None and goes_on:
            check_training(checkpoint, self._trainer, file)
        norms = take_norms(checkpoint, Path(file), self.alpha, self.alphas, goes_on=goes_on)
        if self.networks:
            self.networks.put_back(checkpoint["state_dict"], norms)
        check_fit(checkpoint["state_dict"], self.state_dict(), file)
        names = self._of_data("class_names")
        self.card = card or self.card
        order = class_order(self.card.class_names, names, file)
        if order is None:
            return
        if self._trainer and self._trainer.state.fn == "fit":
            raise CheckpointError(
                f"{file}: the data's class list is in another order than the checkpoint's; a training goes on with "
                "its own (model.checkpoint starts a new one from these weights)"
            )
        self.print(REORDERED)
        head = f"network.{self.head}"
        checkpoint["state_dict"] = reorder_classes(checkpoint["state_dict"], head, order)
        self.card = replace(self.card, class_names=tuple(names))


def load_classifier(source: str | Path, **changes: Any) -> VideoClassifier:
    """The classifier of a file of weights, in evaluation mode, with its card in `.card`.

    Args:
        source: a file of any kind that `octvideo.models.open_weights` reads.
        changes: hyperparameters to change, `alpha=0.25` say; the weights must fit the result. Where the file does not
            say what it is of, `name` has to be here; where it is of a network of one's own, `network`.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it cannot be read safely, or does not fit.
    """
    weights = read_weights(source)
    made_of = {key: changes[key] for key in NETWORK if key in changes}
    card = network_card(weights, made_of, changes.get("network"))
    settings = {**weights.settings, **card.network, "multi_label": card.multi_label}
    if card.name not in MODELS and "network" not in changes:
        raise CheckpointError(
            f"{weights.file} is of {card.name}, a network of one's own: it has to be given as network"
        )
    settings |= {"image_checkpoint": None, "alphas": None}
    if changes.get("cascade") is not None and weights.norms:
        settings["alpha"] = min(weights.norms)
    try:
        classifier = VideoClassifier(**{**settings, **changes, "checkpoint": str(source)})
    except TypeError as error:
        raise CheckpointError(
            f"{weights.file}: its hyper_parameters are not a VideoClassifier's ({error})"
        ) from error
    assert classifier.load_report is not None
    classifier.load_report.check_scores(classifier.num_classes)
    return classifier.eval()
