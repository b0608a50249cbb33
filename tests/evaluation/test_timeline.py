"""Windows joined into a time line, by hand, and the picture and the video made of it."""

import av
import numpy as np
import pytest
from PIL import Image

from octvideo.evaluation.labelled_video import write_labelled_video
from octvideo.evaluation.timeline import Timeline, plot_timeline

SPANS = [(0.0, 10.0), (5.0, 15.0), (10.0, 20.0), (12.0, 22.0)]
SCORES = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.2, 0.8]])


def test_a_moment_is_the_mean_of_its_windows() -> None:
    timeline = Timeline(SPANS, SCORES)
    for seconds, expected in (
        (1, 1.0),
        (7, 0.75),
        (11, 0.25),
        (13, (0.5 + 0 + 0.2) / 3),
        (21, 0.2),
        (30, 0.2),
        (-1, 1.0),
    ):
        assert timeline.at(seconds)[0] == pytest.approx(expected)
    assert timeline.edges.tolist() == [0, 5, 10, 12, 15, 20, 22]
    assert timeline.segments[:, 0] == pytest.approx([1, 0.75, 0.25, 0.7 / 3, 0.1, 0.2])
    assert timeline.segments.sum(axis=1) == pytest.approx(np.ones(6))
    assert timeline.mean == pytest.approx([0.425, 0.575])


def test_the_picture_is_darker_where_a_class_leads(tmp_path) -> None:
    timeline = Timeline([(0.0, 10.0), (10.0, 20.0)], np.array([[1.0, 0.0], [0.0, 1.0]]))
    plot_timeline(timeline, ["first", "second"], tmp_path / "line.png", title="a video")
    grey = np.asarray(Image.open(tmp_path / "line.png").convert("L")).astype(int)
    columns = grey[:, : int(grey.shape[1] * 0.9)]  # without the colour bar
    dark = columns < 80
    rows, places = np.nonzero(dark)
    upper = places[rows < np.median(rows)].mean()
    lower = places[rows > np.median(rows)].mean()
    assert upper < lower  # the first class leads on the left, the second on the right
    assert [file.name for file in tmp_path.iterdir()] == ["line.png"]


def test_labelled_video(tmp_path) -> None:
    times = [0.0, 0.1, 0.5, 0.6]  # a variable rate, kept
    frames = ((1.4 + time, np.full((90, 401, 3), 200, np.uint8)) for time in times)
    asked = []

    def labels(seconds: float) -> list[tuple[str, float]]:
        asked.append(seconds)
        return [("opening a very long door with a very long name " * 3, 0.9), ("b", 0.1)]

    write_labelled_video(tmp_path / "out.mp4", frames, labels, fps=10)
    assert asked == pytest.approx(times)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        found = [(frame.time, frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]
    assert [time for time, _ in found] == pytest.approx(times, abs=1e-3)
    picture = found[0][1].astype(int)
    assert picture.shape == (90, 400)  # even
    assert abs(picture[:20].mean() - 200) < 3  # above the labels
    assert picture[-30:].mean() < 170
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]
