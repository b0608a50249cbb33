"""`octvideo bench data`: the training loader beside pytorchvideo's, on the same files.

Each loader takes the same kind of clips (random start, frames evenly over the clip, short side jittered,
random crop, flip; not normalised) in batches of 8, with the same number of worker processes, which are started
before the clock. Rounds are interleaved and compared as ratios.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from octvideo.bench.pytorchvideo_loader import pytorchvideo_loader
from octvideo.data.dataset import ClipSampler, ClipSpec, TrainDataset, collate_train
from octvideo.data.decode import PyAVReader, open_video
from octvideo.data.loaders import Loader, make_loader
from octvideo.data.manifest import Manifest
from octvideo.data.sampling import random_start, uniform_starts, video_seconds
from octvideo.data.transforms import TrainTransform
from octvideo.errors import InputError
from octvideo.files import replace_file
from octvideo.timing import Ratio, interleave, ratio

PEERS = ("decord", "pyav")
_BATCH = 8
_NUM_VIEW_CLIPS = 10


@dataclass(frozen=True)
class Rate:
    """One loader.

    Attributes:
        name: "octvideo", "pytorchvideo, decord" or "pytorchvideo, pyav".
        clips_per_second: of the median round.
        times: its time over octvideo's, round by round.
    """

    name: str
    clips_per_second: float
    times: Ratio


@dataclass(frozen=True)
class LoadingReport:
    """What was measured.

    Attributes:
        kilobytes: mean size of a video.
        rates: octvideo first.
        over_decoding: octvideo's loader over opening the files and decoding the same frames with the same decoder,
            both in one process, in CPU time.
        views_over_once: decoding the frames of 10 test clips over decoding every frame of the video once,
            in sequence and without conversion to RGB, in CPU time.
    """

    num_videos: int
    kilobytes: float
    num_clips: int
    num_workers: int
    rounds: int
    rates: tuple[Rate, ...]
    over_decoding: Ratio
    views_over_once: Ratio


def bench_loading(
    paths: Sequence[str],
    *,
    num_clips: int = 48,
    num_workers: int = 2,
    rounds: int = 5,
    peers: Sequence[str] = PEERS,
    advance: Callable[[], object] | None = None,
) -> LoadingReport:
    """Times the loaders, the decoder alone and the decoding of views.

    Args:
        paths: videos, taken in turn.
        num_clips: clips a round and loader.
        num_workers: worker processes of each loader.
        rounds: timed rounds; one more comes before them.
        peers: pytorchvideo's decoders to compare with.
        advance: called after every run, `num_runs` times in all, to move a progress bar.

    Raises:
        ValueError: no paths, or a number below 1.
        VideoDecodeError: a video can't be read.
    """
    numbers = {"paths": len(paths), "num_clips": num_clips, "num_workers": num_workers, "rounds": rounds}
    for name, value in numbers.items():
        if value < 1:
            raise InputError(f"{name} is {value}, allowed is 1 or more")
    videos = [os.path.abspath(path) for path in paths]
    chosen = [videos[number % len(videos)] for number in range(num_clips)]
    how: dict[str, Any] = {"rounds": rounds, "advance": advance}
    loading = interleave(_loaders(chosen, num_workers, peers), **how)
    with _one_thread():
        how["clock"] = time.process_time
        alone = interleave(_in_this_process(chosen), **how)
        views = interleave(_views(chosen[: max(num_clips // 8, 1)]), **how)
    return LoadingReport(
        num_videos=len(videos),
        kilobytes=round(sum(map(os.path.getsize, videos)) / len(videos) / 1000, 1),
        num_clips=num_clips,
        num_workers=num_workers,
        rounds=rounds,
        rates=tuple(
            Rate(name, num_clips / timing.median, ratio(timing, loading["octvideo"]))
            for name, timing in loading.items()
        ),
        over_decoding=ratio(alone["loading"], alone["decoding"]),
        views_over_once=ratio(views["views"], views["once"]),
    )


def num_runs(rounds: int, peers: Sequence[str] = PEERS) -> int:
    """How often `bench_loading` calls `advance`."""
    return (rounds + 1) * (len(peers) + 5)


def _training_set(paths: Sequence[str]) -> TrainDataset:
    manifest = Manifest("benchmark", tuple(paths), (0,) * len(paths))
    return TrainDataset(manifest, ClipSpec(), TrainTransform(), seed=0)


def _our_loader(dataset: TrainDataset, num_workers: int) -> Loader:
    return make_loader(
        dataset,
        ClipSampler(dataset, num_replicas=1, rank=0, seed=0),
        batch_size=_BATCH,
        collate_fn=collate_train,
        drop_last=False,
        num_workers=num_workers,
        device=torch.device("cpu"),
    )


def training_epoch(paths: Sequence[str], num_workers: int) -> Callable[[], None]:
    """A function that takes a training clip of each path through octvideo's loader, whose workers stay."""
    return _epoch(_our_loader(_training_set(paths), num_workers), len(paths))


def _epoch(loader: Any, num_clips: int) -> Callable[[], None]:
    def run() -> None:
        seen = sum(len(batch["clip"]) for batch in loader)
        if seen != num_clips:
            raise RuntimeError(f"{seen} of {num_clips} clips came")

    return run


def _loaders(paths: Sequence[str], num_workers: int, peers: Sequence[str]) -> dict[str, Callable[[], object]]:
    runs = {"octvideo": training_epoch(paths, num_workers)}
    for decoder in peers:
        loader = pytorchvideo_loader(
            paths,
            decoder=decoder,
            spec=ClipSpec(),
            transform=TrainTransform(),
            batch_size=_BATCH,
            num_workers=num_workers,
        )
        runs[f"pytorchvideo, {decoder}"] = _epoch(loader, len(paths))
    return dict(runs)


def _in_this_process(paths: Sequence[str]) -> dict[str, Callable[[], object]]:
    """The loader without workers, and its decoding alone: the same frames of the same files."""
    dataset = _training_set(paths)
    loader = _our_loader(dataset, 0)

    def decode() -> None:
        for video, path in enumerate(paths):
            rng = np.random.default_rng((dataset.seed, 0, video))
            with open_video(path) as reader:
                start = random_start(video_seconds(reader.pts_seconds), dataset.spec.seconds, rng)
                reader.frames_at(dataset.spec.frames(reader, start))

    return {"loading": lambda: sum(1 for _ in loader), "decoding": decode}


def _views(paths: Sequence[str]) -> dict[str, Callable[[], object]]:
    spec = ClipSpec()

    def views() -> None:
        for path in paths:
            with open_video(path) as video:
                starts = uniform_starts(video_seconds(video.pts_seconds), spec.seconds, _NUM_VIEW_CLIPS)
                video.frames_at([index for start in starts for index in spec.frames(video, start)])

    def once() -> None:
        for path in paths:
            with PyAVReader(path) as video:
                for _ in video.decode_all():
                    pass

    return {"views": views, "once": once}


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def write_json(path: Path, parts: Mapping[str, Any]) -> None:
    """Writes what was measured, with the date, the machine and the versions; the folder is made."""
    packages = ("octvideo", "torch", "torchvision", "av", "decord", "pytorchvideo")
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }
    replace_file(path, lambda out: out.write(json.dumps({**about, **parts}, indent=1) + "\n"))
