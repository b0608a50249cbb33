"""`--json` of the commands that measure nothing: one document, and nothing else, on the standard output."""

import json
from pathlib import Path
from typing import Any

import pytest

from octvideo.cli import main
from tests.cli_checkpoint import write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_video) -> Path:
    """`videos`, `list.csv` of them, and `dense.ckpt`."""
    folder = tmp_path_factory.mktemp("json")
    for i in range(4):
        make_video(folder / "videos" / f"{i}.mp4", num_frames=12, size=(48, 64), fps=15)
    (folder / "list.csv").write_text("".join(f"videos/{i}.mp4 {i % 2}\n" for i in range(4)))
    write_checkpoint(folder / "dense.ckpt", num_frames=4, test_crop=32, test_short_side=34)
    return folder


def said(capsys, *words: object) -> Any:
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_features_and_probe(folder: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / "found.npz"
    more = ["--out", file, "--num_workers", 0, "--num_clips", 2, "--num_crops", 1]
    found = said(capsys, "features", folder / "dense.ckpt", folder / "list.csv", *more)
    assert found == {
        "file": str(file),
        "layer": found["layer"],
        "num_videos": 4,
        "num_views": 2,
        "num_features": found["num_features"],
        "unreadable": [],
    }
    probed = said(capsys, "probe", file, file)
    assert (probed["videos_learnt"], probed["videos_scored"], probed["top5"]) == (4, 4, 1.0)
    assert 0 <= probed["mean_class_accuracy"] <= 1


def test_adapt(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "oct.ckpt"
    words = ["adapt", folder / "dense.ckpt", "--alpha", 0.25, "--videos", folder / "videos", "--out", out]
    found = said(capsys, *words, "--steps", 1, "--num_workers", 0)
    assert [Path(file).name for file in found["files"]] == ["oct.ckpt", "oct.html", "oct.json"]
    assert [one["after"] for one in found["measured"]][-1] == "last_stage"


def test_weights(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = said(capsys, "weights")
    assert found["i3d_r50"]["top1"] == 73.27
    assert found["i3d_r50"]["file"] is None
