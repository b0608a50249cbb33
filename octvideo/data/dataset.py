"""Datasets over a manifest: training clips, and all views of a video for evaluation.

Shapes: T frames of a clip, H x W the crop.
Items and batches are those of the table in CONTRIBUTING.md. A reader is opened for each item, in the process
that decodes, and closed again.
"""

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, DistributedSampler, Subset, default_collate

from octvideo.card import Card
from octvideo.data.decode import VideoDecodeError, VideoReader, open_video
from octvideo.data.manifest import Manifest
from octvideo.data.sampling import clip_seconds, frames_of_clip, random_start, uniform_starts, video_seconds
from octvideo.data.transforms import EvalTransform, TrainTransform
from octvideo.data.views import Views
from octvideo.data.watchdog import Watchdog
from octvideo.errors import InputError

_log = logging.getLogger(__name__)

# How many other videos are tried in place of an unreadable one before training stops.
MAX_ATTEMPTS = 10


@dataclass(frozen=True)
class ClipSpec:
    """What a clip is: `num_frames` moments of `num_frames * frame_stride / fps` seconds, by a card's `frame_times`."""

    num_frames: int = 8
    frame_stride: int = 8
    fps: float = 30.0
    frame_times: str = "even"

    @classmethod
    def of(cls, card: Card) -> "ClipSpec":
        return cls(card.num_frames, card.frame_stride, card.fps, card.frame_times)

    def __post_init__(self) -> None:
        for name in ("num_frames", "frame_stride", "fps"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}, allowed is more than 0")

    @property
    def seconds(self) -> float:
        return clip_seconds(num_frames=self.num_frames, frame_stride=self.frame_stride, fps=self.fps)

    def frames(self, video: VideoReader, start: float) -> list[int]:
        """Frame indices of the clip that starts `start` seconds into the video."""
        return self.indices(video.pts_seconds, start)

    def indices(self, pts_seconds: np.ndarray, start: float) -> list[int]:
        """Indices of the frames, shown at `pts_seconds`, of the clip that starts `start` seconds after the first."""
        return frames_of_clip(
            pts_seconds,
            start,
            num_frames=self.num_frames,
            frame_stride=self.frame_stride,
            fps=self.fps,
            frame_times=self.frame_times,
        )


class ClipIndex(NamedTuple):
    """A training item's key. The epoch travels with it, since persistent workers see no change elsewhere."""

    epoch: int
    video: int


class ClipSampler(DistributedSampler):
    """Shuffles the videos of an epoch over the processes and yields `ClipIndex`.

    All processes get as many videos, none of them twice: those left over, fewer than there are processes, wait for
    another epoch. Lightning calls `set_epoch` before each epoch, and leaves a DistributedSampler as it is.

    Attributes:
        start: how many videos of the next epoch a resumed training has had already; they are passed over once.
    """

    def __init__(self, dataset: Dataset, *, num_replicas: int, rank: int, seed: int) -> None:
        super().__init__(
            dataset, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed, drop_last=True
        )
        if not len(self):
            raise InputError(
                f"{len(dataset)} training videos for {num_replicas} processes, at least one each is needed"  # type: ignore[arg-type]
            )
        self.start = 0

    def __iter__(self) -> Iterator[ClipIndex]:
        start, self.start = self.start, 0
        for index in islice(super().__iter__(), start, None):
            yield ClipIndex(self.epoch, index)


def _watchdog(seconds_a_video: float | None, hung_file: Path | None) -> Watchdog | None:
    return None if seconds_a_video is None else Watchdog(seconds_a_video, hung_file)


class TrainDataset(Dataset):
    """One random clip a video, the same for the same (seed, epoch, video) whatever the worker.

    An unreadable video is replaced by a random other one; the item's "replaced", if there is one, lists
    (video, what was wrong).
    """

    def __init__(
        self,
        manifest: Manifest,
        spec: ClipSpec,
        transform: TrainTransform,
        *,
        seed: int,
        decoder: str = "auto",
        device: str | torch.device = "cpu",
        seconds_a_video: float | None = None,
        hung_file: Path | None = None,
    ) -> None:
        self.manifest = manifest
        self.spec = spec
        self.transform = transform
        self.seed = seed
        self.decoder = decoder
        self.device = device
        self.watchdog = _watchdog(seconds_a_video, hung_file)

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, key: int | ClipIndex) -> dict[str, Any]:
        """`{"clip": uint8 (3, T, H, W), "label", "video"}`; a plain index stands for epoch 0.

        Raises:
            VideoDecodeError: neither this video nor any of `MAX_ATTEMPTS` others can be read.
        """
        epoch, video = key if isinstance(key, tuple) else (0, key)
        rng = np.random.default_rng((self.seed, epoch, video))
        replaced: list[tuple[int, str]] = []
        while True:
            try:
                clip = self._clip(video, rng)
            except VideoDecodeError as error:
                replaced.append((video, str(error)))
                if len(replaced) > MAX_ATTEMPTS:
                    raise VideoDecodeError(
                        f"{error} (and {MAX_ATTEMPTS} others tried in its place can't be read either)"
                    ) from None
                video = int(rng.integers(len(self)))
            else:
                break
        item = {"clip": clip, "label": self.manifest.labels[video], "video": video}
        return {**item, "replaced": replaced} if replaced else item

    def _clip(self, video: int, rng: np.random.Generator) -> torch.Tensor:
        path = self.manifest.paths[video]
        with (
            self.watchdog.busy(video, path) if self.watchdog else nullcontext(),
            open_video(path, decoder=self.decoder, device=self.device) as reader,
        ):
            start = random_start(video_seconds(reader.pts_seconds), self.spec.seconds, rng)
            # A copy, so that a video which fails after its first frames draws the next one as any other does.
            cropping = self.transform.cropping(copy.deepcopy(rng))
            crops = reader.frames_at(self.spec.frames(reader, start), cropping)
        return crops.permute(3, 0, 1, 2)


class EvalDataset(Dataset):
    """All views of a video: uniform clips times crops, the video opened and each frame decoded once.

    Args:
        num_clips: clips, evenly spread over the video.
        repeat_first_frame: every clip is its first frame, repeated: what a model knows without motion.
    """

    def __init__(
        self,
        manifest: Manifest,
        spec: ClipSpec,
        transform: EvalTransform,
        *,
        num_clips: int,
        decoder: str = "auto",
        device: str | torch.device = "cpu",
        seconds_a_video: float | None = None,
        hung_file: Path | None = None,
        repeat_first_frame: bool = False,
    ) -> None:
        if num_clips < 1:
            raise InputError(f"num_clips is {num_clips}, allowed is 1 or more")
        self.manifest = manifest
        self.spec = spec
        self.transform = transform
        self.num_clips = num_clips
        self.decoder = decoder
        self.device = device
        self.watchdog = _watchdog(seconds_a_video, hung_file)
        self.repeat_first_frame = repeat_first_frame

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`{"views": Views, "label", "video"}`, or `{"video", "error"}` if it can't be read."""
        try:
            views = self._views(index)
        except VideoDecodeError as error:
            return {"video": index, "error": str(error)}
        return {"views": views, "label": self.manifest.labels[index], "video": index}

    def _times(self, reader: VideoReader, index: int) -> tuple[np.ndarray, int]:
        """Times of the frames that the views are taken from, and the number of the first of them."""
        return reader.pts_seconds, 0

    def _views(self, video: int) -> Views:
        path = self.manifest.paths[video]
        with (
            self.watchdog.busy(video, path) if self.watchdog else nullcontext(),
            open_video(path, decoder=self.decoder, device=self.device) as reader,
        ):
            pts, first = self._times(reader, video)
            starts = uniform_starts(video_seconds(pts), self.spec.seconds, self.num_clips)
            wanted = first + np.asarray([self.spec.indices(pts, start) for start in starts])  # (num_clips, T)
            if self.repeat_first_frame:
                wanted = np.repeat(wanted[:, :1], self.spec.num_frames, axis=1)
            indices, place = np.unique(wanted, return_inverse=True)
            scaled = reader.frames_at(indices, self.transform.scale)
        return self.transform.views(scaled, place.reshape(wanted.shape))


class EvalRows(Subset):
    """Some rows of an EvalDataset, under their own numbers."""

    def __init__(self, dataset: EvalDataset, rows: Sequence[int]) -> None:
        super().__init__(dataset, rows)
        self.watchdog, self.manifest = (
            dataset.watchdog,
            dataset.manifest,
        )  # the loader's; items count these paths


def collate_train(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Batch of training items; "replaced" lists (video, what was wrong) of the unreadable ones.

    "clip" is `(B, 3, T, H, W)` with channels last in memory, as decoders give pixels and networks take them.
    """
    replaced = [pair for item in items for pair in item.pop("replaced", [])]
    batch = default_collate([{**item, "clip": item["clip"].permute(1, 2, 3, 0)} for item in items])
    return {**batch, "clip": batch["clip"].permute(0, 4, 1, 2, 3), "replaced": replaced}


def collate_eval(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Batch of evaluation items; "errors" lists (video, what was wrong).

    "views" (a list: videos differ in size), "label" and "video" are of the readable videos, absent if there is none.
    """
    errors = [(item["video"], item["error"]) for item in items if "error" in item]
    good = [item for item in items if "error" not in item]
    if not good:
        return {"errors": errors}
    views = [item.pop("views") for item in good]
    return {"views": views, **default_collate(good), "errors": errors}
