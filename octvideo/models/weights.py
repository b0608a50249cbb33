"""One door for weights: a file of any kind, to a network, its card and a report.

    what octvideo fit wrote            card and network are in it
    safetensors with a card            `save_weights`
    .onnx and .pt2 of octvideo export  card and network are in it; as it is, no other alpha
    other projects' files              which network they are of has to be said; the card is the published one's

A name of `octvideo weights` stands for its file. Everything that loads weights comes through here: `create_model`,
`VideoClassifier`, the commands and notebooks.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from torch import Tensor, nn

from octvideo.card import EXPORT_FORMATS, NETWORK, Card
from octvideo.engines.native.cache import cache_folder
from octvideo.errors import InputError
from octvideo.files import replacing
from octvideo.models.checkpoints import (
    CARD_KEY,
    CheckpointError,
    LoadReport,
    load_weights,
    norms_of,
    read_checkpoint,
    tensors_of,
)
from octvideo.models.exported import load_exported
from octvideo.models.head import find_head
from octvideo.models.octavize import octavize
from octvideo.models.pathways import MeanOverPositions
from octvideo.models.table import MODELS, build_model, get_spec, model_card, read_card


class Opened(NamedTuple):
    """What `open_weights` gives: a network in evaluation mode, its card, and what went into it."""

    network: nn.Module
    card: Card
    report: LoadReport


@dataclass(frozen=True)
class Weights:
    """What a file holds, before a network is made of it.

    Attributes:
        file: absolute path.
        kind: what sort of file it is, in words.
        card: what it says of itself; what an old one lacks is the published recipe's. None where it says nothing.
        settings: VideoClassifier's, of a checkpoint that `octvideo fit` wrote.
        tensors: by name; empty in an exported network.
        network: of an exported file, ready to run.
        norms: by alpha, what of the tensors is other at it: the norms' statistics, of a network that was trained at
            several; empty for all others, of which any alpha runs the same tensors.
    """

    file: Path
    kind: str
    card: Card | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    network: nn.Module | None = None
    norms: dict[float, dict[str, Tensor]] = field(default_factory=dict)

    def at(self, alpha: float) -> dict[str, Tensor]:
        """The tensors of an alpha; those of the file's own where `untrained` says why not."""
        return {**self.tensors, **self.norms.get(alpha, {})}

    def untrained(self, alpha: float) -> str:
        """Why there are no statistics of that alpha; empty where there are."""
        if not self.norms or alpha in self.norms:
            return ""
        trained = ", ".join(f"{one:g}" for one in self.norms)
        return (
            f"alpha is {alpha:g}, allowed are those that it was trained at and has norm statistics of: {trained}; "
            "octvideo adapt makes weights for another one of videos"
        )

    @property
    def exported(self) -> bool:
        """Whether it is a network as it runs, of which nothing can be changed."""
        return self.file.suffix in EXPORT_FORMATS


# A file is read once while somebody holds what was in it: commands look at the card before a network is built of it.
_held: WeakValueDictionary[tuple[Path, int, int], Weights] = WeakValueDictionary()


def open_weights(source: str | Path, *, network: nn.Module | None = None, **changes: Any) -> Opened:
    """The network of a file, or of a name of `octvideo weights`, with its weights; nothing in a file is executed.

    Args:
        source: the file, of any kind that is listed above, or the name.
        network: one's own, dense, which gets the weights and becomes octave where an alpha is above 0; its class's name
            is the card's. None builds the one that the file is of.
        changes: `name`, `alpha`, `num_classes`, `channel_multiple` and `layer_alphas`, as in `create_model`, where
            they are to be others than the file's; `name` has to be given where the file does not say what it is of. A
            head for another number of classes starts anew.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it cannot be read safely, or does not fit.
        InputError: a change that is out of its range.
    """
    weights = read_weights(source)
    card = network_card(weights, changes, network)
    if weights.network is not None:
        return Opened(weights.network.eval(), card, LoadReport(str(weights.file), weights.kind))
    if network is None and card.name not in MODELS:
        raise CheckpointError(
            f"{weights.file} is of {card.name}, allowed without its network are {', '.join(MODELS)}"
        )
    if network is not None:
        head, assumed = find_head(network), False
        if card.is_octave:
            network = octavize(
                network,
                card.alpha,
                channel_multiple=card.channel_multiple,
                layer_alphas=card.layer_alphas,
            )
    else:
        head, assumed = get_spec(str(card.name)).head, weights.card is None
        network = build_model(**card.network)
    MeanOverPositions.let(network, multi_label=card.multi_label)
    report = load_weights(network, weights.at(card.alpha), weights.file, weights.kind, head)
    if report.replaced:
        card = replace(card, class_names=None, published=None)
    report = replace(report, names_assumed=assumed, untrained=weights.untrained(card.alpha))
    return Opened(network.eval(), card, report)


def read_weights(source: str | Path) -> Weights:
    """What a file holds; errors as `open_weights`'."""
    file = Path(source).expanduser().absolute()
    if str(source) in MODELS and not file.exists():
        file = weights_file(str(source))
        if not file.is_file():
            raise FileNotFoundError(f"no weights {file}; to get them: octvideo weights {source}")
    state = file.stat() if file.is_file() else None  # else what reads it says so
    key = (file, state.st_mtime_ns if state else 0, state.st_size if state else 0)
    found = _held.get(key)
    if found is None:
        found = _held[key] = _read(file)
    return found


def _read(file: Path) -> Weights:
    if file.suffix in EXPORT_FORMATS:
        network, its_card = load_exported(file)
        return Weights(file, f"exported, {file.suffix}", its_card, network=network)
    checkpoint = read_checkpoint(file)
    tensors, kind = tensors_of(checkpoint, file)
    card = card_of(checkpoint, file)
    norms = norms_of(checkpoint, tensors, file)
    kind = "octvideo" if card else kind
    return Weights(file, kind, card, settings_of(checkpoint), tensors, norms=norms)


def take_norms(
    checkpoint: dict[str, Any], file: Path, alpha: float, alphas: Sequence[float], *, goes_on: bool
) -> dict[float, dict[str, Tensor]]:
    """The norms' statistics of a checkpoint's content, for networks of `alphas` on the same weights.

    Where there is one network alone, of `alpha`, its state dict gets its statistics.

    Args:
        goes_on: whether the training that wrote the checkpoint is to go on.

    Raises:
        CheckpointError: there are none of an alpha.
    """
    norms = norms_of(checkpoint, checkpoint["state_dict"], file)
    if (alphas or goes_on) and list(norms) != list(alphas):
        raise CheckpointError(
            f"{file} does not fit: its alphas are {list(norms)}, the model's {list(alphas)}"
        )
    if norms and not alphas:
        weights = Weights(file, "octvideo", tensors=checkpoint["state_dict"], norms=norms)
        if untrained := weights.untrained(alpha):
            raise CheckpointError(f"{file}: {untrained}")
        checkpoint["state_dict"] = weights.at(alpha)
    return norms


def largest_alpha(weights: Weights | None) -> float:
    """The largest alpha that weights were trained at, with which a cascade begins.

    Raises:
        CheckpointError: they were not trained at several.
    """
    if weights is None or len(weights.norms) < 2:
        raise CheckpointError(
            f"{weights.file if weights else 'random weights'}: of one alpha, budget_ms and cascade need a checkpoint "
            "of several, which octvideo fit --model.alphas trains"
        )
    return max(weights.norms)


def weights_file(name: str) -> Path:
    """Where the weights of a name are once `octvideo weights` has fetched them.

    ``$XDG_CACHE_HOME/octvideo/weights``, ``~/.cache/octvideo/weights`` where that is not set.
    """
    return cache_folder() / "weights" / f"{name}.safetensors"


def network_card(weights: Weights, changes: Mapping[str, Any], network: nn.Module | None = None) -> Card:
    """The card of the network that a file's weights make with these changes, and in a network of one's own.

    Raises:
        CheckpointError: the file is of another network, or does not say of which, or is an exported one.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    unknown = sorted(set(given) - set(NETWORK))
    if unknown:
        raise InputError(f"{unknown[0]} is no part of a network, allowed are {', '.join(NETWORK)}")
    file, card = weights.file, weights.card
    if network is not None:
        if weights.exported:
            raise CheckpointError(f"{file} runs as it was exported, allowed with network are weights")
        card = replace(card or Card(), name=None, published=None)
        given = {**given, "name": type(network).__name__}
    if (card is None or card.name is None) and "name" not in given:
        raise CheckpointError(f"{file} does not say what it is of: model.name, one of {', '.join(MODELS)}")
    if card is None:
        return model_card(**given)
    for key in NETWORK if weights.exported else ("name",):
        theirs = getattr(card, key)
        if theirs is not None and given.get(key, theirs) != theirs:
            raise CheckpointError(f"{file} does not fit: its {key} is {theirs}, the model's is {given[key]}")
    if given.get("num_classes", card.num_classes) != card.num_classes:
        card = replace(card, class_names=None, published=None)
    card = replace(card, **given)
    return replace(card, published=None) if card.is_octave else card


def settings_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """VideoClassifier's settings, of a checkpoint that `octvideo fit` wrote; empty for all others."""
    settings = checkpoint.get("hyper_parameters")
    if CARD_KEY not in checkpoint or not isinstance(settings, Mapping):
        return {}
    return {key: value for key, value in settings.items() if isinstance(key, str) and not key.startswith("_")}


def card_of(checkpoint: Mapping[str, Any], file: str | Path) -> Card | None:
    """The card of a checkpoint's content; None where it is not ours.

    Raises:
        CheckpointError: it is not what a card holds.
    """
    if CARD_KEY not in checkpoint:
        return None
    ours = checkpoint[CARD_KEY] or {}
    if not isinstance(ours, Mapping):
        raise CheckpointError(f"{file}: what it has as {CARD_KEY!r} is no dictionary")
    card = ours.get("card") or {}
    if not isinstance(card, Mapping):
        raise CheckpointError(f"{file}: its card is no dictionary")
    # Cards of before they had the network: the settings have it.
    made_of = {key: value for key, value in settings_of(checkpoint).items() if key in NETWORK}
    return read_card({"version": ours.get("version"), **card, **made_of}, file)


def save_weights(file: str | Path, state_dict: Mapping[str, Tensor], card: Card) -> None:
    """Writes safetensors with a card, as a whole or not at all.

    Raises:
        OSError: the file cannot be written; an older one is left as it was.
    """
    from safetensors.torch import save_file

    tensors = {key: value.contiguous() for key, value in state_dict.items()}
    with replacing(file) as temporary:
        save_file(tensors, temporary, {CARD_KEY: json.dumps({"card": card.to_dict()})})


def create_model(
    name: str,
    *,
    alpha: float = 0.0,
    num_classes: int = 400,
    checkpoint: str | Path | None = None,
    pretrained: bool = False,
    channel_multiple: int = 1,
    layer_alphas: Mapping[str, float] | None = None,
) -> nn.Module:
    """A network for clips ``(B, 3, T, H, W)`` of any crop size, giving logits ``(B, num_classes)``.

    Its state dict has the keys and shapes of pytorchvideo's or torchvision's network of that name, whatever alpha.

    Args:
        name: a key of ``MODELS``.
        alpha: share of low-frequency channels, in [0, 1); 0 is the dense network.
        num_classes: 1 to 100,000.
        channel_multiple: what the numbers of low channels are rounded to, the nearest one; 1 is the paper's rule. CPU
            kernels compute 16 channels at a time: with 16, small alphas waste less of that, and split other numbers of
            channels, so that the network costs other FLOPs (``describe`` and ``octvideo bench model`` name them).
        layer_alphas: shares of their own for some layers, by patterns of their paths, of which the last that matches
            counts: ``{"blocks.3.*": 0.5, "*.multipathway_blocks.1.*": 0}``; 0 is dense.
        checkpoint: a file of weights to start from, of any kind that ``open_weights`` reads but exported networks;
            dense weights start an octave network too. A head for another number of classes starts anew, with a warning.
        pretrained: whether to start from the published weights, which `octvideo weights NAME` has fetched before.

    Raises:
        ValueError: pretrained with a checkpoint, unknown name, alpha or num_classes out of range, an alpha that the
            network cannot be split by.
        FileNotFoundError: there is no such checkpoint.
        CheckpointError: the checkpoint cannot be read safely, or does not fit.
    """
    made_of: dict[str, Any] = {
        "name": name,
        "alpha": alpha,
        "num_classes": num_classes,
        "channel_multiple": channel_multiple,
        "layer_alphas": dict(layer_alphas or {}),
    }
    if pretrained and checkpoint is not None:
        raise InputError(f"pretrained is True with checkpoint {checkpoint}, allowed is one of them")
    checkpoint = name if pretrained else checkpoint
    if checkpoint is None:
        return build_model(**made_of)
    opened = open_weights(checkpoint, **made_of)
    if opened.report.replaced or opened.report.untrained:
        warnings.warn(str(opened.report), stacklevel=2)
    return opened.network.train()
