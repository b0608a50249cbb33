"""Shared fixtures: small videos written with PyAV, the real clips, and the rule for GPU tests."""

import os
from collections.abc import Callable, Generator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

# Real clips, which are not the project's to give away.
_CLIPS = Path(os.environ.get("OCTVIDEO_CLIPS") or Path(__file__).parents[2] / "shared" / "clips")

MakeVideo = Callable[..., Path]


def pytest_configure(config: pytest.Config) -> None:
    """Processes of tests side by side share the cores, and so do the commands that they start."""
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        threads = max(1, (os.cpu_count() or 1) // worker["workercount"])
        torch.set_num_threads(threads)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def _gpu_is_required() -> bool:
    return os.environ.get("OCTVIDEO_REQUIRE_GPU") == "1"


def _is_rehearsal() -> bool:
    """Whether tests marked gpu run on the CPU: theirs is the code that nobody can mend on a machine had for minutes."""
    return os.environ.get("OCTVIDEO_REHEARSE_GPU") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked gpu skip without CUDA, and fail instead where the run promised a GPU."""
    if torch.cuda.is_available() or _gpu_is_required() or _is_rehearsal():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if not item.get_closest_marker("gpu") or not _gpu_is_required() or _is_rehearsal():
        return
    if not torch.cuda.is_available():
        pytest.fail("OCTVIDEO_REQUIRE_GPU=1 and torch finds no CUDA GPU", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test marked gpu that skips has shown nothing: a failure, where the run promised a GPU."""
    report = yield
    if report.skipped and item.get_closest_marker("gpu") and _gpu_is_required():
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"OCTVIDEO_REQUIRE_GPU=1, but the test skips: {reason}"
    return report


@pytest.fixture(scope="session")
def device() -> str:
    """Where a test marked gpu computes: "cuda"; "cpu" in a rehearsal (OCTVIDEO_REHEARSE_GPU=1)."""
    return "cpu" if _is_rehearsal() else "cuda"


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips; skips where it is absent."""
    if not _CLIPS.is_dir():
        pytest.skip(f"{_CLIPS} is absent")
    return _CLIPS


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """A function that writes a video in which every frame tells its number.

    `make_video(path, num_frames=30, fps=30, size=(64, 96), codec="libx264", times=None, options=None)`; `size`
    is (height, width), `times` are the frames' times in milliseconds (a variable rate). Frame i is a grey of
    `8 * i % 200 + 20` with a bright square that walks from left to right. Returns the path.
    """

    def make(
        path: Path,
        *,
        num_frames: int = 30,
        fps: int | Fraction = 30,
        size: tuple[int, int] = (64, 96),
        codec: str = "libx264",
        times: Sequence[int] | None = None,
        options: dict[str, str] | None = None,
        pix_fmt: str = "yuv420p",
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = size
        with av.open(str(path), "w") as container:
            stream = container.add_stream(
                codec, rate=Fraction(fps), options=options or {"g": "12", "crf": "12"}
            )
            stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for number in range(num_frames):
                frame = av.VideoFrame.from_ndarray(numbered_frame(number, height, width), format="rgb24")
                frame.pts = number if times is None else times[number]
                frame.time_base = 1 / Fraction(fps) if times is None else Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


def numbered_frame(number: int, height: int, width: int) -> np.ndarray:
    """The frame of that number, `uint8 (height, width, 3)`."""
    frame = np.full((height, width, 3), 8 * number % 200 + 20, dtype=np.uint8)
    side = max(height // 4, 2)
    left = 3 * number % max(width - side, 1)
    frame[:side, left : left + side] = (250, 40, 40)
    return frame
