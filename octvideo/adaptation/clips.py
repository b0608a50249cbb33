"""Clips of videos, kept as bytes: what an adaptation learns from, and what it is measured on.

Shapes: T frames, H x W the crop.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler

from octvideo.data.dataset import ClipSpec, EvalDataset, EvalRows, collate_eval
from octvideo.data.loaders import make_loader
from octvideo.data.manifest import Manifest
from octvideo.data.transforms import EvalTransform
from octvideo.data.views import Views
from octvideo.errors import InputError

MOST_BYTES = 2**31  # of all clips


class Clips(Sequence[Tensor]):
    """Clips as they were decoded; each is normalised when it is asked for.

    Args:
        mean, std: of red, green, blue, in 0 to 1.

    Attributes:
        labels: of the clips, -1 where there is none.
        errors: of the videos that could not be read, a line each.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean, self._std = (torch.tensor(v).mul(255).view(3, 1, 1, 1) for v in (mean, std))
        self._pixels: list[Tensor] = []
        self.labels: list[int] = []
        self.errors: list[str] = []

    def append(self, pixels: Tensor, label: int) -> None:
        """Args: pixels: `uint8 (3, T, H, W)`."""
        self._pixels.append(pixels)
        self.labels.append(label)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: Any) -> Any:
        """`float (3, T, H, W)`."""
        return self._pixels[index].float().sub_(self._mean).div_(self._std)


def hold_out(manifest: Manifest, share: float) -> tuple[list[int], list[int]]:
    """Numbers of the videos to learn from, and of those to measure on: one in `1 / share`.

    Raises:
        InputError: there are too few.
    """
    every = round(1 / share)
    measured = list(range(every - 1, len(manifest), every))
    learnt = [i for i in range(len(manifest)) if i % every != every - 1]
    if len(learnt) < 2 or not measured:
        raise InputError(
            f"{manifest.source} has {len(manifest)} videos, allowed are {max(every, 3)} or more: "
            f"one in {every} is held out"
        )
    return learnt, measured


def read_clips(
    manifest: Manifest,
    videos: Sequence[int],
    spec: ClipSpec,
    transform: EvalTransform,
    *,
    num_clips: int,
    num_workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Clips:
    """The views of some videos of a manifest.

    Args:
        spec, transform, num_clips: as in an evaluation: `num_clips` spread over each video, times the crops.
        num_workers: decoding processes; None is one a core.
        progress: called with the number of videos done and of all.

    Raises:
        InputError: the clips would take more memory than MOST_BYTES.
    """
    size = 3 * spec.num_frames * transform.crop**2
    number = len(videos) * num_clips * transform.num_crops
    if size * number > MOST_BYTES:
        raise InputError(
            f"{number} clips of {spec.num_frames} frames and {transform.crop} x {transform.crop} pixels are "
            f"{size * number / 1e9:.1f} GB, allowed are {MOST_BYTES / 1e9:.1f}: fewer videos or clips"
        )
    dataset = EvalRows(EvalDataset(manifest, spec, transform, num_clips=num_clips), videos)
    loader = make_loader(
        dataset,
        SequentialSampler(dataset),
        batch_size=1,
        collate_fn=collate_eval,
        drop_last=False,
        num_workers=num_workers,
        device=torch.device("cpu"),
    )
    clips = Clips(transform.mean, transform.std)
    for done, batch in enumerate(loader, start=1):
        clips.errors += [text for _, text in batch["errors"]]
        for views in batch.get("views", []):
            for number in range(views.num_views):
                clips.append(_pixels(views, number), int(batch["label"][0]))
        if progress:
            progress(done, len(videos))
    return clips


def _pixels(views: Views, number: int) -> Tensor:
    """A view, `uint8 (3, T, side, side)`."""
    top, left = views.corners[number]
    box = views.frames[:, top : top + views.side, left : left + views.side]
    return box[torch.from_numpy(views.places[number])].permute(3, 0, 1, 2)
