"""Footage of people with its splits, and three clips of each video, decoded once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from octvideo.data.decode import open_video
from octvideo.data.manifest import read_class_list, read_manifest
from octvideo.data.sampling import clip_seconds, frames_of_clip, video_seconds
from octvideo.data.transforms import EvalTransform

# Where in a video a clip lies, as a share of the room that it has.
PLACES = {"start": 0.0, "middle": 0.5, "end": 1.0}
# What is done to it, `uint8 (3, T, H, W)`.
CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "forward": lambda clip: clip,
    "first": lambda clip: np.repeat(clip[:, :1], clip.shape[1], axis=1),
    "backward": lambda clip: clip[:, ::-1],
}


@dataclass(frozen=True)
class View:
    """What of a video is shown: a clip at one of PLACES, after one of CHANGES."""

    place: str = "middle"
    change: str = "forward"

    @property
    def name(self) -> str:
        return f"{self.place}_{self.change}"


VIEWS = [View(place) for place in PLACES]  # of a video, to tell its class


@dataclass(frozen=True)
class Split:
    """Videos by their numbers in the footage; no actor's sequence, or broadcast's scene, is in two parts."""

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Clip:
    """What a clip is: its short side scaled, the crop in the middle of that."""

    num_frames: int
    fps: float
    side: int

    def __str__(self) -> str:
        return f"{self.num_frames} frames at {self.fps:g} a second, {self.side} x {self.side} pixels"

    @property
    def name(self) -> str:
        return f"{self.num_frames}x{self.side}at{self.fps:g}"


class Footage:
    """A data set in the layout that `data_prep.manifest` writes.

    Args:
        root: its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.name = root, root.name
        self.classes = read_class_list(root / "classes.txt")
        parts = [self._manifest(root / f"{part}.csv") for part in ("train", "val", "test")]
        rows = sorted(row for part in parts for row in part.items())
        self.paths, self.labels = [path for path, _ in rows], np.array([label for _, label in rows])

    def _manifest(self, file: Path) -> dict[str, int]:
        manifest = read_manifest(file, root=self.root / "videos")
        return dict(zip(manifest.paths, manifest.labels, strict=True))

    @property
    def may_mirror(self) -> bool:
        """Whether left and right are the same: of tennis' forehand and backhand they are not."""
        return self.name != "tennis_strokes"

    @cached_property
    def splits(self) -> dict[str, list[Split]]:
        """By what they ask: the folds and the halves of UT-Interaction, or the one split."""
        folder = self.root / "folds"
        if not folder.is_dir():
            return {"its split": [self._split("its split", self.root)]}
        files = sorted(folder.glob("*_test.csv"), key=lambda file: int(file.name.partition("_")[0]))
        folds = [self._split(f"fold {number}", folder, f"{number}_") for number in range(len(files))]
        first = tuple(i for i in range(len(self.paths)) if self._sequence(i) <= 10)
        second = tuple(i for i in range(len(self.paths)) if self._sequence(i) > 10)
        halves = [Split("1-10 to 11-20", first, second), Split("11-20 to 1-10", second, first)]
        return {"ten folds": folds, "halves": halves}

    @cached_property
    def trials(self) -> list[Split]:
        """What recipes are chosen by: five folds of the car park's sequences, or train and val; no other video."""
        if "halves" not in self.splits:
            places = {path: i for i, path in enumerate(self.paths)}
            train, val = (
                tuple(sorted(places[path] for path in self._manifest(self.root / f"{part}.csv")))
                for part in ("train", "val")
            )
            return [Split("trial", train, val)]
        videos = self.splits["halves"][0].train
        folds = [{i for i in videos if (self._sequence(i) - 1) // 2 == number} for number in range(5)]
        return [
            Split(f"trial {number}", tuple(i for i in videos if i not in fold), tuple(sorted(fold)))
            for number, fold in enumerate(folds)
        ]

    def _sequence(self, video: int) -> int:
        return int(re.findall(r"_g(\d+)_", Path(self.paths[video]).name)[-1])

    def _split(self, name: str, folder: Path, prefix: str = "") -> Split:
        """Trained on train and val together, since nothing is chosen by val."""
        parts = [self._manifest(folder / f"{prefix}{part}.csv") for part in ("train", "val", "test")]
        places = {path: i for i, path in enumerate(self.paths)}
        train, val, test = (tuple(sorted(places[path] for path in part)) for part in parts)
        return Split(name, tuple(sorted(train + val)), test)

    def clips(self, clip: Clip, cache: Path) -> list[np.ndarray]:
        """`uint8 (places, 3, T, side, side)` of every video; what is not in `cache` is decoded."""
        folder = cache / self.name / "clips" / clip.name
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{Path(path).stem}.npy" for path in self.paths]
        for path, file in zip(self.paths, files, strict=True):
            if not file.is_file():
                write_whole(file, read_clips(path, clip).numpy())
        return [np.load(file, mmap_mode="r") for file in files]


def read_clips(path: str, clip: Clip) -> Tensor:
    """`uint8 (places, 3, T, side, side)` of a video."""
    with open_video(path) as video:
        times = video.pts_seconds
        length = clip_seconds(num_frames=clip.num_frames, frame_stride=1, fps=clip.fps)
        room = max(video_seconds(times) - length, 0.0)
        each = [
            frames_of_clip(times, room * share, num_frames=clip.num_frames, frame_stride=1, fps=clip.fps)
            for share in PLACES.values()
        ]
        kept = sorted({frame for frames in each for frame in frames})
        transform = EvalTransform(clip.side, clip.side, 1)
        scaled = transform.scale(video.frames_at(kept))
    return torch.stack([transform.crops(scaled[[kept.index(i) for i in frames]])[0] for frames in each])


def shown(clips: np.ndarray, view: View) -> np.ndarray:
    """`uint8 (places, 3, T, H, W)` of a video to the view's `(3, T, H, W)`."""
    return np.ascontiguousarray(CHANGES[view.change](clips[list(PLACES).index(view.place)]))


def as_input(clips: Sequence[np.ndarray]) -> Tensor:
    """`uint8` clips as the network takes them, `float (B, 3, T, H, W)` in -1 to 1."""
    return torch.from_numpy(np.stack(clips)).float().div_(127.5).sub_(1)


def write_whole(file: Path, array: np.ndarray) -> None:
    """An array as a file that is there as a whole or not at all."""
    temporary = file.with_name(f".{file.name}")
    with temporary.open("wb") as opened:
        np.save(opened, array)
    os.replace(temporary, file)
