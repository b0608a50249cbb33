"""`octvideo.predict`: the classes of videos, as the command of that name finds them."""

from os import PathLike
from typing import Any

import torch

from octvideo.classifier import VideoClassifier
from octvideo.data import VideoDecodeError
from octvideo.data.windows import Window, plan_windows
from octvideo.evaluation.predictions import join_windows
from octvideo.evaluation.results import class_name
from octvideo.evaluation.scores import ScoreCollector, check_finite
from octvideo.inference.videos import Sources, classifier_of, data_of, views_of


def predict(
    videos: Sources,
    checkpoint: str | PathLike[str] | VideoClassifier,
    *,
    window_s: float | None = 10.0,
    hop_s: float | None = None,
    device: str | None = None,
    **settings: Any,
) -> Any:
    """The classes of videos: names and probabilities, from the views that `octvideo predict` scores.

    Args:
        videos: a file; or files, folders of them and manifests.
        checkpoint: a file of weights of any kind that `octvideo.models.open_weights` reads, or a classifier.
        window_s: long videos are scored in windows of so many seconds; None: as a whole.
        hop_s: from one window's start to the next's, seconds; None: half a window.
        device: where the network runs; None: on a GPU where there is one.
        settings: of `KineticsDataModule`, instead of the card's: `num_clips=1`, `num_workers=0`.

    Returns:
        `{name: probability}`, the most probable first; of several videos a dictionary of these, by absolute path.

    Raises:
        VideoDecodeError: a video cannot be read.
        CheckpointError: the weights cannot be read safely, or do not fit.
        ManifestError: there is no such video.

    Example:
        >>> octvideo.predict("my_video.mp4", "runs/demo/checkpoints/best.ckpt")  # doctest: +SKIP
        {'turning left': 0.97, 'turning right': 0.02, ...}
    """
    classifier = classifier_of(checkpoint, device)
    data = data_of(classifier, videos, **settings)
    paths = data.paths("predict")
    if window_s is not None:
        hop = window_s / 2 if hop_s is None else hop_s
        data = data.part(windows=plan_windows(paths, window_s, hop))
    windows = data.windows or [Window(video) for video in range(len(paths))]
    collector = ScoreCollector(classifier.num_classes)
    with torch.inference_mode():
        for row, label, views, error in views_of(data, classifier.device):
            if views is None:
                raise VideoDecodeError(str(error))
            probabilities = classifier.view_probabilities(views)
            check_finite(probabilities, paths[windows[row].video])
            collector.add(row, label, probabilities, views.num_views)
    names = data.class_names or classifier.card.class_names
    found = {}
    for video in join_windows(collector.gather(), paths, windows):
        assert video.probabilities is not None
        order = (-video.probabilities).argsort(kind="stable").tolist()
        found[video.path] = {class_name(names, i): float(video.probabilities[i]) for i in order}
    single = isinstance(videos, str | PathLike) and len(found) == 1
    return next(iter(found.values())) if single else found
