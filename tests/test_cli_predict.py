"""`octvideo export` and `octvideo predict`: what a user types, and the files that it leaves."""

import csv
import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from octvideo.cli import main
from octvideo.models import create_model
from tests.cli_checkpoint import write_checkpoint
from tests.cli_videos import write_dataset
from tests.test_cli import error_line

SMALL = {"num_frames": 4, "test_short_side": 34, "test_crop": 32, "num_clips": 2, "num_crops": 1}
NAMES = ("left", "right", "up", "down", "in", "out", "still")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_video) -> Path:
    """model.ckpt, four short videos with all.csv, and a long one of 6 seconds."""
    folder = write_dataset(tmp_path_factory.mktemp("predict"), make_video)
    write_checkpoint(folder / "model.ckpt", alpha=0.25, class_names=NAMES, **SMALL)
    make_video(folder / "long" / "long one.mp4", num_frames=90, fps=15, size=(48, 64))
    return folder


def options(run: Path, *more: str) -> list[str]:
    quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--data.num_workers=0"]
    return [f"--trainer.default_root_dir={run}", *quiet, *more]


def predictions(run: Path) -> Path:
    """Where the first prediction of a run folder went."""
    return run / "predictions" / "1"


def predicted(run: Path) -> list[dict]:
    return json.loads((predictions(run) / "predict.json").read_text())


@pytest.mark.parametrize("suffix", ["pt2", pytest.param("onnx", marks=pytest.mark.slow)])
def test_an_exported_network_predicts_as_its_checkpoint(
    folder: Path, tmp_path, monkeypatch, capsys, suffix: str
) -> None:
    opened = []
    if suffix == "onnx":
        pytest.importorskip("onnxscript")
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession
        monkeypatch.setattr(
            onnxruntime, "InferenceSession", lambda *a, **k: opened.append(a) or session(*a, **k)
        )
    checkpoint, out = str(folder / "model.ckpt"), str(tmp_path / f"net.{suffix}")
    assert main(["export", checkpoint, out]) == 0
    assert len(opened) == (suffix == "onnx")  # which takes as long as the rest
    shown = capsys.readouterr().out
    assert "i3d_tiny, alpha 0.25, clip (B, 3, 4, 32, 32) to logits (B, 7); max difference" in shown
    assert [file.name for file in tmp_path.iterdir()] == [f"net.{suffix}"]
    videos = [str(folder / f"video_{i}.mp4") for i in range(2)]
    assert main(["predict", checkpoint, *videos, *options(tmp_path / "a")]) == 0
    assert main(["predict", "--exported", out, *videos, *options(tmp_path / "b")]) == 0
    assert len(opened) == 2 * (suffix == "onnx")
    assert (
        main(["test", "--exported", out, f"--data.test_csv={folder / 'all.csv'}", *options(tmp_path / "c")])
        == 0
    )
    ours, theirs = predicted(tmp_path / "a"), predicted(tmp_path / "b")
    assert [row["path"] for row in theirs] == videos
    for one, other in zip(ours, theirs, strict=True):
        assert list(other["probabilities"]) == list(NAMES)
        assert other["probabilities"] == pytest.approx(one["probabilities"], abs=1e-5)
    scores = np.load(tmp_path / "c" / "scores.npz")["probabilities"]
    np.testing.assert_allclose(scores[:2], [list(row["probabilities"].values()) for row in theirs], atol=1e-6)
    assert "num_frames is 8" in error_line(
        capsys, "predict", "--exported", out, videos[0], *options(tmp_path / "d", "--data.num_frames=8")
    )
    assert "alpha is 0.5" in error_line(
        capsys, "predict", "--exported", out, videos[0], *options(tmp_path / "d", "--model.alpha=0.5")
    )


def test_long_videos_are_scored_window_by_window(folder: Path, tmp_path, capsys) -> None:
    run, checkpoint = tmp_path / "run", str(folder / "model.ckpt")
    words = [str(folder / "long"), str(folder / "video_0.mp4")]
    windows = ["--window_s=2", "--hop_s=1", "--save_video=true"]
    assert main(["predict", checkpoint, *words, *options(run, *windows)]) == 0
    assert "0:04.0 to 0:06.0" in capsys.readouterr().out
    assert (
        main(["predict", checkpoint, words[1], "--json", *options(run)]) == 0
    )  # a second one replaces nothing
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(run / "predictions" / "2")
    assert json.loads((run / "predictions" / "2" / "predict.json").read_text()) == told["videos"]
    assert (run / "predictions" / "2" / "config.yaml").is_file()
    long, short = predicted(run)
    assert [(w["start_s"], w["end_s"]) for w in long["windows"]] == [(s, s + 2) for s in range(5)]
    for scores in [long, short, *long["windows"]]:
        assert sum(scores["probabilities"].values()) == pytest.approx(1, abs=1e-9)
    mean = np.mean([list(w["probabilities"].values()) for w in long["windows"]], axis=0)
    assert list(long["probabilities"].values()) == pytest.approx(mean.tolist(), abs=1e-12)
    assert "windows" not in short
    run = predictions(run)
    with (run / "predict.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (1 + 5) * 5 + 5  # five ranks of the video and of its windows; of the short one
    assert (rows[5]["start_s"], rows[5]["end_s"]) == ("0.000", "2.000")
    best = max(long["probabilities"], key=long["probabilities"].get)
    assert (rows[0]["start_s"], rows[0]["rank"], rows[0]["class"]) == ("", "1", best)

    Image.open(run / "videos" / "0000_long one.png").verify()
    with av.open(str(run / "videos" / "0000_long one.mp4")) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert [time for time, _ in frames] == pytest.approx([i / 15 for i in range(90)], abs=1e-3)
    assert frames[0][1].shape == (240, 320, 3)
    assert frames[0][1][-20:].astype(int).std() > 20  # labels lie over the flat grey
    assert (run / "videos" / "0001_video_0.mp4").is_file()
    assert not (run / "videos" / "0001_video_0.png").exists()


def test_a_window_scores_as_a_file_of_its_own(folder: Path, tmp_path, make_video) -> None:
    checkpoint = str(folder / "model.ckpt")
    assert (
        main(
            [
                "predict",
                checkpoint,
                str(folder / "long"),
                *options(tmp_path / "a", "--window_s=2", "--hop_s=2"),
            ]
        )
        == 0
    )
    first = predicted(tmp_path / "a")[0]["windows"][0]
    # Lossless codecs would be needed for other windows: only the first frames are encoded alike.
    make_video(tmp_path / "first.mp4", num_frames=30, fps=15, size=(48, 64))
    assert main(["predict", checkpoint, str(tmp_path / "first.mp4"), *options(tmp_path / "b")]) == 0
    alone = predicted(tmp_path / "b")[0]
    assert first["probabilities"] == pytest.approx(alone["probabilities"], abs=0.02)


def test_bad_files_do_not_end_a_prediction_in_windows(folder: Path, tmp_path, make_video, capsys) -> None:
    videos = tmp_path / "videos"
    good = make_video(videos / "good.ts", num_frames=30, fps=15, size=(48, 64)).read_bytes()
    for name, content in (("cut.ts", good[:300]), ("empty.mp4", b""), ("text.avi", b"no video\n")):
        (videos / name).write_bytes(content)
    words = ["predict", str(folder / "model.ckpt"), str(videos), "--window_s=1"]
    assert "3 of 4 videos could not be read" in error_line(capsys, *words, *options(tmp_path / "run"))
    rows = {Path(row["path"]).name: row for row in predicted(tmp_path / "run")}
    assert [name for name in sorted(rows) if "error" in rows[name]] == ["cut.ts", "empty.mp4", "text.avi"]
    assert [window["start_s"] for window in rows["good.ts"]["windows"]] == [0.0, 0.5, 1.0]


def test_predict_scores_are_tests(folder: Path, tmp_path) -> None:
    checkpoint = str(folder / "model.ckpt")
    assert main(["predict", checkpoint, str(folder / "all.csv"), *options(tmp_path)]) == 0
    assert main(["test", checkpoint, f"--data.test_csv={folder / 'all.csv'}", *options(tmp_path)]) == 0
    scores = np.load(tmp_path / "scores.npz")["probabilities"]
    found = [list(row["probabilities"].values()) for row in predicted(tmp_path)]
    np.testing.assert_array_equal(np.float32(found), scores)
    assert len({round(row[0], 6) for row in found}) > 1


def test_a_class_list_in_another_order_is_matched_by_name(folder: Path, tmp_path, capsys) -> None:
    checkpoint, csv_option = str(folder / "model.ckpt"), f"--data.test_csv={folder / 'all.csv'}"
    swapped = ("right", "left", "still", "in", "out", "up", "down")
    (tmp_path / "classes.txt").write_text("\n".join(swapped))
    (tmp_path / "swapped.csv").write_text("".join(f"video_{i}.mp4 {1 - i % 2}\n" for i in range(4)))
    assert main(["test", checkpoint, csv_option, *options(tmp_path / "a")]) == 0
    more = [f"--data.class_list={tmp_path / 'classes.txt'}", f"--data.test_csv={tmp_path / 'swapped.csv'}"]
    assert main(["test", checkpoint, *options(tmp_path / "b", *more, f"--data.root={folder}")]) == 0
    assert "classes are matched by name" in capsys.readouterr().out
    rows = [list(csv.DictReader((tmp_path / run / "predictions.csv").open())) for run in "ab"]
    assert rows[0] == rows[1]  # the same names and probabilities for the same videos
    (tmp_path / "classes.txt").write_text("\n".join((*swapped[:6], "sideways")))
    line = error_line(capsys, "test", checkpoint, csv_option, *options(tmp_path / "c", more[0]))
    assert "other classes" in line
    assert "'sideways'" in line


def test_mistakes(folder: Path, tmp_path, capsys) -> None:
    checkpoint, video = str(folder / "model.ckpt"), str(folder / "video_0.mp4")
    run = options(tmp_path / "run")
    assert "hop_s is 3, allowed" in error_line(
        capsys, "predict", checkpoint, video, "--window_s=2", "--hop_s=3", *run
    )
    assert "window_s is -1" in error_line(capsys, "predict", checkpoint, video, "--window_s=-1", *run)
    assert ".onnx or .pt2" in error_line(capsys, "export", checkpoint, str(tmp_path / "net.bin"))
    assert str(tmp_path / "gone.onnx") in error_line(
        capsys, "predict", "--exported", str(tmp_path / "gone.onnx"), video
    )
    (tmp_path / "text.onnx").write_text("nothing")
    (tmp_path / "text.pt2").write_text("nothing")
    for name in ("text.onnx", "text.pt2"):
        assert name in error_line(capsys, "predict", "--exported", str(tmp_path / name), video)
    torch.save({"model_state": create_model("i3d_tiny", num_classes=400).state_dict()}, tmp_path / "zoo.pyth")
    assert "does not say what it is of" in error_line(capsys, "export", str(tmp_path / "zoo.pyth"), "a.onnx")


def test_weights_of_400_classes_have_kinetics_names(folder: Path, tmp_path, capsys) -> None:
    torch.manual_seed(0)
    torch.save(create_model("mc3_18", num_classes=400).state_dict(), tmp_path / "mc3.pth")
    more = ["--model.name=mc3_18", "--data.num_clips=1", "--data.test_short_side=64", "--data.test_crop=64"]
    words = ["predict", str(tmp_path / "mc3.pth"), str(folder / "video_0.mp4")]
    assert main([*words, *options(tmp_path / "run", *more)]) == 0
    (row,) = predicted(tmp_path / "run")
    assert list(row["probabilities"])[19] == "bench pressing"
    # Beside a test's numbers stand the published ones. A list in another order is matched by name.
    names = list(row["probabilities"])
    (tmp_path / "classes.txt").write_text("\n".join(reversed(names)))
    more += [f"--data.test_csv={folder / 'all.csv'}", f"--data.class_list={tmp_path / 'classes.txt'}"]
    assert main(["test", str(tmp_path / "mc3.pth"), *options(tmp_path / "run", *more)]) == 0
    shown = capsys.readouterr().out
    assert "published by torchvision: 63.96 / 84.13 % on Kinetics-400 with 5 x 1 views" in shown
    assert "measured otherwise: pictures squashed to 128 x 171" in shown
    assert "16 frames x 1 at 15 fps in steps, short side 64, crop 64, 1 clips x 1 crops, RGB" in shown
    assert "matched by name" in shown
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["published"]["top1"] == 63.96
    scores = np.load(tmp_path / "run" / "scores.npz")["probabilities"][0]
    np.testing.assert_allclose(scores[::-1], list(row["probabilities"].values()), atol=1e-6)


BAD = {
    "truncated.mp4": lambda good: good[: len(good) // 3],
    "empty.mp4": lambda good: b"",
    "text.mp4": lambda good: b"WEBVTT\n\nno video at all\n",
}


def test_bad_files_are_named_and_the_rest_is_kept(folder: Path, tmp_path, capsys) -> None:
    good = (folder / "video_0.mp4").read_bytes()
    videos = tmp_path / "videos"
    videos.mkdir()
    for name, change in BAD.items():
        (videos / name).write_bytes(change(good))
    with av.open(str(videos / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux([*stream.encode(frame), *stream.encode(None)])
    shutil.copy(folder / "video_0.mp4", videos / "good.mp4")
    names = sorted(file.name for file in videos.iterdir())
    line = error_line(capsys, "predict", str(folder / "model.ckpt"), str(videos), *options(tmp_path / "run"))
    assert "4 of 5 videos could not be read" in line
    assert not list((tmp_path / "run").glob("partial-*"))  # all is in the results
    rows = {Path(row["path"]).name: row for row in predicted(tmp_path / "run")}
    assert sorted(rows) == names
    assert [name for name in names if "error" in rows[name]] == [
        "empty.mp4",
        "sound.mp4",
        "text.mp4",
        "truncated.mp4",
    ]
    assert all(str(videos / name) in rows[name]["error"] for name in names if "error" in rows[name])
    # The same in a test, where they are beside the number.
    (tmp_path / "list.csv").write_text("".join(f"{name} 0\n" for name in names))
    more = [f"--data.test_csv={tmp_path / 'list.csv'}", f"--data.root={videos}"]
    assert main(["test", str(folder / "model.ckpt"), *options(tmp_path / "run", *more)]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["videos_listed"], metrics["videos_scored"], len(metrics["unreadable"])) == (5, 1, 4)
