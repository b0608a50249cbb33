"""Features of videos: what a layer of a network gives, averaged over time and space, by view and video.

N videos, V views, D features.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from octvideo.classifier import VideoClassifier
from octvideo.errors import InputError
from octvideo.evaluation.scores import NoScoresError
from octvideo.files import replacing
from octvideo.inference.videos import Sources, classifier_of, data_of, views_of


@dataclass(frozen=True)
class Features:
    """Features of the videos that could be read, in the order of their list.

    Attributes:
        layer: the path of the layer in the network.
        paths: absolute, N.
        labels: `int64 (N,)`, -1 where a video has none.
        views: `float32 (N, V, D)`.
        errors: what is wrong with the videos that could not be read.
    """

    layer: str
    paths: tuple[str, ...]
    labels: np.ndarray
    views: np.ndarray
    errors: tuple[str, ...] = field(default=())

    @property
    def videos(self) -> np.ndarray:
        """`float32 (N, D)`: the mean of each video's views."""
        return self.views.mean(axis=1)

    def save(self, file: str | PathLike[str]) -> None:
        """Writes an .npz file of `features` (`videos` here), `views`, `labels`, `paths` and `layer`.

        Raises:
            InputError: the name ends in something else.
            OSError: it cannot be written; an older one is left as it was.
        """
        if Path(file).suffix != ".npz":
            raise InputError(f"{Path(file).absolute()}: the name must end in .npz")
        with replacing(Path(file)) as temporary:
            np.savez_compressed(
                temporary,
                features=self.videos,
                views=self.views,
                labels=self.labels,
                paths=np.array(self.paths),
                layer=np.array(self.layer),
            )


def read_features(file: str | PathLike[str]) -> Features:
    """What `Features.save` has written.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is another one.
    """
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        raise FileNotFoundError(f"no features {path}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            paths = tuple(map(str, stored["paths"]))
            return Features(str(stored["layer"]), paths, stored["labels"], stored["views"])
    except Exception as error:  # what zip and numpy raise has nothing in common
        raise InputError(f"{path}: no features of octvideo") from error


def features(
    videos: Sources,
    checkpoint: str | PathLike[str] | VideoClassifier,
    *,
    layer: str | None = None,
    device: str | None = None,
    **settings: Any,
) -> Features:
    """The features of videos.

    Args:
        videos: a file; or files, folders of them and manifests, whose labels are kept.
        checkpoint: a file of weights of any kind that `octvideo.models.open_weights` reads, or a classifier.
        layer: the path of a layer, whose output is averaged over all but its channels, the high and the low ones of an
            octave layer one after another; None is what the classifying layer is given.
        device: where the network runs; None: on a GPU where there is one.
        settings: of `KineticsDataModule`, instead of the card's: `num_clips=1`, `num_workers=0`.

    Raises:
        InputError: there is no such layer, or it does not run by itself.
        NoScoresError: no video can be read.
        CheckpointError: the weights cannot be read safely, or do not fit.
    """
    classifier = classifier_of(checkpoint, device)
    data = data_of(classifier, videos, **settings)
    paths, rows, errors = data.paths("predict"), [], []
    path = classifier.head if layer is None else layer
    with torch.inference_mode(), _watched(classifier.network, path, before=layer is None) as seen:
        for video, label, views, error in views_of(data, classifier.device):
            if views is None:
                errors.append(str(error))
                continue
            for clip in views.batches(classifier.view_batch_size):
                classifier(clip)
            if not seen:
                raise InputError(
                    f"layer is {path!r}, which does not run by itself in this network; octave networks run the layers "
                    f"in it"
                )
            rows.append((video, label, torch.cat(seen).cpu().numpy()))
            seen.clear()
    if not rows:
        raise NoScoresError(f"none of the {len(paths)} videos could be read, first {errors[0]}")
    rows.sort(key=lambda row: row[0])
    listed, labels, found = zip(*rows, strict=True)
    return Features(
        path, tuple(paths[video] for video in listed), np.array(labels), np.stack(found), tuple(errors)
    )


@contextmanager
def _watched(network: nn.Module, path: str, *, before: bool) -> Iterator[list[Tensor]]:
    """Collects the features of each call of a layer, `float32 (B, D)`: of its input or of its output."""
    modules = dict(network.named_modules())
    if path not in modules or not path:
        raise InputError(
            f"layer is {path!r}, allowed is a layer of the network; it has {_some(list(modules))}"
        )
    seen: list[Tensor] = []
    module = modules[path]
    last = isinstance(module, nn.Linear)  # its channels come last

    def keep(module: nn.Module, inputs: Any, output: Any = None) -> None:
        seen.append(_pooled(inputs[0] if before else output, channels_last=last))

    hook = module.register_forward_pre_hook(keep) if before else module.register_forward_hook(keep)
    try:
        yield seen
    finally:
        hook.remove()


def _pooled(value: Any, *, channels_last: bool) -> Tensor:
    """The mean over all but the first axis and the channels, `float32 (B, D)`; frequencies side by side."""
    if not isinstance(value, Tensor):
        return torch.cat(
            [_pooled(part, channels_last=channels_last) for part in value if part is not None], dim=1
        )
    value = value.float()
    value = value.flatten(1, -2).mean(1) if channels_last and value.ndim > 2 else value
    return value.flatten(2).mean(2) if value.ndim > 2 else value


def _some(paths: list[str]) -> str:
    outer = [path for path in paths if path.count(".") <= 1 and path]
    return ", ".join(outer[:12]) + (" ..." if len(outer) > 12 else "")
