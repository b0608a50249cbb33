"""README's pictures: what they show is what the files say."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("skimage")

from benchmarks import pictures


def test_the_first_screen_has_the_numbers_of_the_results() -> None:
    times, evidence = (json.loads(file.read_text()) for file in (pictures.TIMES, pictures.EVIDENCE))
    *_, time, accuracy = pictures.first_screen(times, evidence).axes
    multiply_adds, seconds = time.lines[:2]
    row = next(
        r for r in times["rows"] if r["alpha"] == 0.5 and r["precision"] == "fp32" and r["mode"] == "eager"
    )
    assert multiply_adds.get_ydata()[-1] == pytest.approx(100 * row["flop_ratio"])
    assert seconds.get_ydata()[-1] == pytest.approx(100 * row["time_ratio"]["median"])
    seeds = [r["top1"] for r in evidence["runs"] if (r["kind"], r["alpha"]) == ("scratch", 0.5)]
    assert accuracy.lines[1].get_ydata()[-1] == pytest.approx(100 * sum(seeds) / len(seeds))
    assert f"{len(seeds)} seeds" in accuracy.get_title()


def test_a_video_of_every_class_moves(tmp_path: Path, make_video) -> None:
    predictions = tmp_path / "predictions.csv"
    with predictions.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "class_1", "probability_1"])
        for number, (label, said) in enumerate([("left", "left"), ("left", "up"), ("up", "left")]):
            path = make_video(tmp_path / f"{number}.mp4", num_frames=20)
            writer.writerow([path, label, said, "0.9"])
    rows = pictures.one_a_class(predictions)
    assert [(row["label"], row["class_1"]) for row in rows] == [("left", "left"), ("up", "left")]
    frames = pictures.moving_picture(rows)
    assert len(frames) == pictures.NUM_FRAMES
    assert frames[0].tobytes() != frames[5].tobytes()


def test_a_run_that_is_not_there_is_said(tmp_path: Path, capsys) -> None:
    assert pictures.main([str(tmp_path)]) == 2
    assert "make demo" in capsys.readouterr().err


def test_the_moving_picture_is_small_and_moves() -> None:
    file = pictures.IMAGES / "demo.webp"
    assert file.stat().st_size < 1_500_000
    with Image.open(file) as image:
        assert image.n_frames == pictures.NUM_FRAMES
