"""The views of videos by the rules of a network's card: what `predict` and `features` have in common."""

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from octvideo.classifier import VideoClassifier, load_classifier
from octvideo.data import KineticsDataModule
from octvideo.data.views import Views

Sources = str | PathLike[str] | Sequence[str | PathLike[str]]


def classifier_of(
    checkpoint: str | PathLike[str] | VideoClassifier, device: str | None, **changes: Any
) -> VideoClassifier:
    """A classifier in evaluation mode, loaded where it is none yet.

    Args:
        checkpoint: a file of weights of any kind, or a classifier.
        device: where it runs; None: on a GPU where there is one, or where the classifier is.
        changes: of a file, as `load_classifier` takes them.
    """
    if isinstance(checkpoint, VideoClassifier):
        return checkpoint.eval() if device is None else checkpoint.eval().to(device)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    return load_classifier(Path(checkpoint), **changes).to(default if device is None else device)


def data_of(classifier: VideoClassifier, videos: Sources, **settings: Any) -> KineticsDataModule:
    """The data module of these videos, by the classifier's card.

    Args:
        videos: files, folders of them, and manifests.
        settings: of `KineticsDataModule`, instead of the card's.
    """
    paths = [str(videos)] if isinstance(videos, str | PathLike) else [str(video) for video in videos]
    return KineticsDataModule(**{**classifier.card.recipe, **settings, "predict_paths": paths})


def views_of(
    data: KineticsDataModule, device: torch.device
) -> Iterator[tuple[int, int, Views | None, str | None]]:
    """`(video, label, views, error)` of every row; one of the last two is None. The frames are on the device."""
    for batch in data.predict_dataloader():
        yield from ((video, -1, None, text) for video, text in batch["errors"])
        labels, videos = (batch.get(key, torch.zeros(0)).tolist() for key in ("label", "video"))
        for video, label, views in zip(videos, labels, batch.get("views", []), strict=True):
            yield int(video), int(label), views._replace(frames=views.frames.to(device)), None
