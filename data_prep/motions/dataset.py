"""Renders the data set into a folder; an interrupted run is continued, a finished one is left alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np

from octvideo.errors import InputError
from octvideo.files import replace_file, replacing

from .motion import CLASSES
from .scene import SPLITS, make_scene

RECORD = "motions.json"
RENDERER = 2  # goes up when the same arguments no longer give the same pictures


@dataclass(frozen=True)
class Plan:
    """The arguments that decide every byte of the data set."""

    num_train: int = 640
    num_val: int = 80
    num_test: int = 160
    seed: int = 0
    min_side: int = 74  # decord 0.6.0 cannot read frames 72 pixels wide
    max_side: int = 96

    def __post_init__(self) -> None:
        for name in ("num_train", "num_val", "num_test", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if not 32 <= self.min_side <= self.max_side <= 160:
            raise InputError(f"min_side, max_side must satisfy 32 <= min_side <= max_side <= 160, "
                             f"got {self.min_side}, {self.max_side}")  # fmt: skip

    def videos(self) -> Iterator[tuple[str, int, str]]:
        """Split, index and path relative to the data set's folder, of every video."""
        for split in SPLITS:
            for index in range(getattr(self, f"num_{split}")):
                yield split, index, f"videos/{split}_{index:05d}.mp4"


def write_video(
    path: Path, frames: Iterator[np.ndarray], *, height: int, width: int, fps: int, crf: int
) -> None:
    """Encodes `uint8 (H, W, 3)` frames as H.264 in MP4; the file appears complete or not at all."""
    with (
        replacing(path, shared=True) as temporary,
        av.open(str(temporary), "w", format="mp4") as container,
    ):
        stream = container.add_stream("libx264", rate=fps)
        stream.pix_fmt = "yuv420p"
        # One thread and plain C: the bytes must not depend on the machine's number of cores, nor on its
        # instructions (x264's AVX-512 code gives other bytes from run to run at sides that 16 does not divide).
        stream.thread_count = 1
        stream.options = {"crf": str(crf), "preset": "veryfast", "g": "24", "x264-params": "asm=0"}
        stream.height, stream.width = height, width
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def render_video(folder: Path, plan: Plan, split: str, index: int, path: str) -> str:
    """Renders one video of the plan; returns its `path`."""
    scene, _ = make_scene(plan.seed, split, index, min_side=plan.min_side, max_side=plan.max_side)
    frames = (scene.frame(i) for i in range(scene.num_frames))
    write_video(folder / path, frames, height=scene.height, width=scene.width, fps=scene.fps, crf=scene.crf)
    return path


def render(
    folder: Path, plan: Plan, *, jobs: int = -1, on_video: Callable[[int, int], None] | None = None
) -> int:
    """Brings the folder to what the plan says; returns the number of videos rendered now.

    Args:
        jobs: Processes; -1 is one a core.
        on_video: Called with (videos done, videos in all) at the start and after each video.

    Raises:
        FileExistsError: If the folder holds another data set or other files, or is a file.
        ValueError: If `jobs` is out of its range.
    """
    from joblib import Parallel, delayed

    if jobs != -1 and jobs < 1:
        raise InputError(f"jobs must be -1 or at least 1, got {jobs}")
    folder = folder.resolve()
    record = _open_record(folder, plan)
    (folder / "videos").mkdir(exist_ok=True)
    for leftover in (folder / "videos").glob(".*.tmp.mp4"):  # of a killed run
        leftover.unlink()
    videos = list(plan.videos())
    missing = [video for video in videos if not (folder / video[2]).is_file()]
    if not missing and record["complete"]:
        if _checksum(folder, plan) == record["checksum"]:
            return 0
        missing = videos  # some file is not what was rendered
    done = len(videos) - len(missing)
    if on_video:
        on_video(done, len(videos))
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=4)
    for _ in parallel(delayed(render_video)(folder, plan, *video) for video in missing):
        done += 1
        if on_video:
            on_video(done, len(videos))
    replace_file(folder / "classes.txt", lambda file: file.writelines(f"{name}\n" for name in CLASSES))
    for split in SPLITS:
        rows = [f"{path} {index % len(CLASSES)}\n" for s, index, path in videos if s == split]
        with replacing(folder / f"{split}.csv") as temporary:
            temporary.write_text("".join(rows))
    _write_record(folder, plan, complete=True, checksum=_checksum(folder, plan))
    return len(missing)


def _open_record(folder: Path, plan: Plan) -> dict:
    """Checks that the folder is this plan's, or new, and returns its record."""
    path = folder / RECORD
    if path.is_file():
        record = json.loads(path.read_text())
        if record["arguments"] != _arguments(plan):
            was = " ".join(f"{key}={value}" for key, value in record["arguments"].items())
            raise FileExistsError(
                f"{folder} holds a data set made with {was}; name another folder or remove it"
            )
        return record
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name a new or an empty folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty and holds no {RECORD}; name a new or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    return _write_record(folder, plan, complete=False, checksum="")


def _arguments(plan: Plan) -> dict:
    return {"renderer": RENDERER, **asdict(plan)}


def _write_record(folder: Path, plan: Plan, *, complete: bool, checksum: str) -> dict:
    num_videos = sum(1 for _ in plan.videos())
    record = {"arguments": _arguments(plan), "complete": complete, "videos": num_videos, "checksum": checksum}
    text = json.dumps(record, indent=2) + "\n"
    replace_file(folder / RECORD, lambda file: file.write(text))
    return record


def _checksum(folder: Path, plan: Plan) -> str:
    digest = hashlib.sha256()
    for _, _, path in plan.videos():
        digest.update((folder / path).read_bytes())
    return f"sha256:{digest.hexdigest()}"
