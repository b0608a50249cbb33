"""What `octvideo predict` prints and writes when the trainer is done."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from octvideo.cli import screen
from octvideo.data import VideoDecodeError, open_video
from octvideo.data.windows import Window
from octvideo.evaluation.labelled_video import write_labelled_video
from octvideo.evaluation.predictions import VideoPrediction, join_windows, write_predictions
from octvideo.evaluation.results import class_name, error_line, top_classes
from octvideo.evaluation.scores import VideoScores
from octvideo.evaluation.timeline import Timeline, plot_timeline
from octvideo.text import shown

FRAMES_AT_ONCE = 32  # in memory, while a labelled video is written


def new_folder(run_folder: Path) -> Path:
    """`predictions/1` of a run folder, or the first number above that is free: earlier predictions stay.

    The configuration of the prediction that has just run goes there.
    """
    above = run_folder / "predictions"
    above.mkdir(parents=True, exist_ok=True)
    numbers = [int(folder.name) for folder in above.iterdir() if folder.name.isdecimal()]
    for number in count(max(numbers, default=0) + 1):
        with suppress(FileExistsError):  # of another prediction, a moment ago
            (above / str(number)).mkdir()
            with suppress(FileNotFoundError):  # where the trainer keeps none
                (run_folder / "predict_config.yaml").replace(above / str(number) / "config.yaml")
            return above / str(number)
    raise AssertionError


def after_predict(
    folder: Path,
    scores: VideoScores,
    paths: Sequence[str],
    windows: Sequence[Window],
    names: Sequence[str] | None,
    *,
    save_video: bool = False,
) -> VideoDecodeError | None:
    """Prints the most probable classes of every video; writes predict.json, predict.csv, and what is drawn.

    Args:
        folder: of these predictions.
        scores: of the windows, `video` being the window's number.
        paths: the videos' files.
        windows: all of them, those of a video in order.
        names: the classes; None numbers them.
        save_video: whether to write labelled copies of the videos.

    Returns:
        What the command has to end with where a video could not be read.
    """
    videos = join_windows(scores, paths, windows)
    console = screen.results()
    for video in videos:
        _print(video, names, console)
    content = write_predictions(folder, videos, names)
    if screen.wants_json():
        screen.write_json({"folder": str(folder.absolute()), "videos": content})
    drawn = _draw_all(folder / "videos", videos, names, save_video)
    listed = ", ".join(["predict.json", "predict.csv", *drawn])
    console.print(shown(f"{listed} in {folder.absolute()}"), soft_wrap=True, highlight=False, markup=False)
    errors = [video.error for video in videos if video.error]
    if not errors:
        return None
    return VideoDecodeError(f"{len(errors)} of {len(paths)} videos could not be read, first {errors[0]}")


def _print(video: VideoPrediction, names: Sequence[str] | None, console: Console) -> None:
    def say(text: str) -> None:
        console.print(shown(text), soft_wrap=True, highlight=False, markup=False)

    if video.error is not None:
        say(error_line(video.path, video.error))
    if video.probabilities is None:
        return
    say(video.path)
    for index in top_classes(video.probabilities):
        say(f"  {video.probabilities[index]:7.2%}  {class_name(names, index)}")
    for start, end, scores in video.windows:
        best = top_classes(scores, 1)[0]
        say(f"  {_clock(start)} to {_clock(end)}  {scores[best]:7.2%}  {class_name(names, best)}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes):d}:{rest:04.1f}"


def _draw_all(
    folder: Path, videos: Sequence[VideoPrediction], names: Sequence[str] | None, save_video: bool
) -> list[str]:
    """Timelines of long videos and labelled copies; what was written, relative to the run folder."""
    written = []
    todo = [(n, v) for n, v in enumerate(videos) if v.probabilities is not None and (v.windows or save_video)]
    for number, video in track(todo, "drawing", transient=True, disable=not todo or screen.is_quiet()):
        spans = [(start, end) for start, end, _ in video.windows] or [(0.0, 1.0)]
        rows = [scores for _, _, scores in video.windows] or [np.asarray(video.probabilities)]
        timeline = Timeline(spans, np.stack(rows))
        stem = f"{number:04d}_{Path(video.path).stem[:80]}"
        picture, copy = folder / f"{stem}.png", folder / f"{stem}.mp4"
        if video.windows:
            plot_timeline(timeline, names, picture, title=shown(Path(video.path).name))
            written.append(f"{folder.name}/{picture.name}")
        if save_video:
            try:
                _save_video(copy, video.path, timeline, names)
            except VideoDecodeError as error:  # broken further on than the scored frames
                video.error = video.error or str(error)
                continue
            written.append(f"{folder.name}/{copy.name}")
    return written if len(written) <= 4 else [f"{len(written)} files in {folder.name}/"]


def _save_video(mp4: Path, path: str, timeline: Timeline, names: Sequence[str] | None) -> None:
    def labels_at(seconds: float) -> list[tuple[str, float]]:
        scores = timeline.at(seconds)
        return [(class_name(names, index), float(scores[index])) for index in top_classes(scores, 3)]

    with open_video(path) as reader:

        def frames() -> Iterator[tuple[float, np.ndarray]]:
            for first in range(0, reader.num_frames, FRAMES_AT_ONCE):
                indices = range(first, min(first + FRAMES_AT_ONCE, reader.num_frames))
                for index, frame in zip(indices, reader.frames_at(list(indices)), strict=True):
                    yield float(reader.pts_seconds[index]), frame.numpy()

        write_labelled_video(mp4, frames(), labels_at, fps=reader.fps)
