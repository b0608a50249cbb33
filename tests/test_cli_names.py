"""Files and classes of hostile names through the command line: no result is lost, nothing reaches the terminal."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from octvideo.cli import main
from octvideo.evaluation.compare import read_run
from tests.cli_checkpoint import write_checkpoint

NO_UTF8 = os.fsdecode(b"caf\xe9.mp4")
NAMES = (NO_UTF8, "red\x1b[31m\nnext.mp4", "=cmd().mp4")
RECIPE = {
    "test_short_side": 34,
    "test_crop": 32,
    "crop": 32,
    "short_side": [34, 40],
    "num_clips": 1,
    "num_frames": 4,
    "frame_stride": 2,
}
CLASSES = ("=1+1", "left\x1b[2J")


@pytest.fixture
def folder(tmp_path, make_video) -> Path:
    write_checkpoint(tmp_path / "net.ckpt", class_names=CLASSES, **RECIPE)
    made = make_video(tmp_path / "made.mp4", num_frames=20, size=(48, 64), fps=15)
    (tmp_path / "videos").mkdir()
    for name in NAMES:
        shutil.copy(made, tmp_path / "videos" / name)
    made.unlink()
    (tmp_path / "videos" / "broken\x1b]0;pwned\x07.mp4").write_bytes(b"no video")
    return tmp_path


def run(command: str, folder: Path, *more: str) -> int:
    options = [
        f"--trainer.default_root_dir={folder}/run",
        "--trainer.accelerator=cpu",
        "--data.num_workers=0",
    ]
    return main([command, str(folder / "net.ckpt"), *more, *options])


def said(capsys) -> str:
    """What went to the terminal, without the colours that the table itself has."""
    streams = capsys.readouterr()
    text = streams.out + streams.err
    text.encode()  # or the terminal would not have taken it
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", text.replace("\r", "")), text
    return text


def test_predict(folder: Path, capsys) -> None:
    assert run("predict", folder, str(folder / "videos")) == 2  # one of them is no video
    text = said(capsys)
    assert r"caf\xe9.mp4" in text
    assert r"red\x1b[31m\x0anext.mp4" in text
    assert r"broken\x1b]0;pwned\x07.mp4" in text
    out = folder / "run" / "predictions" / "1"
    videos = json.loads((out / "predict.json").read_text())
    scored = {Path(video["path"]).name for video in videos if "probabilities" in video}
    assert scored == set(NAMES)
    stream = (out / "predict.csv").open(newline="", encoding="utf-8", errors="surrogateescape")
    with stream:
        rows = list(csv.DictReader(stream))
    assert {Path(row["path"]).name for row in rows} == set(NAMES)
    assert {row["class"] for row in rows} == {"'=1+1", CLASSES[1]}  # a spreadsheet computes nothing


def test_test(folder: Path, capsys) -> None:
    listed = folder / "videos" / "all.csv"
    listed.write_bytes(b"caf\xe9.mp4 0\n=cmd().mp4 1\n")
    assert run("test", folder, f"--data.test_csv={listed}") == 0
    said(capsys)
    results = read_run(folder / "run")
    assert {Path(path).name for path in results.correct} == {NO_UTF8, "=cmd().mp4"}
    assert (folder / "run" / "report.html").stat().st_size
    with (folder / "run" / "per_class.csv").open(newline="") as stream:
        assert [row["class"] for row in csv.DictReader(stream)] == ["'=1+1", CLASSES[1]]
