"""Labels, networks and loggers of one's own, through the command line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from octvideo.cli import main
from tests.cli_videos import shrink, write_dataset

TINY = ["--model.name=i3d_tiny", "--data.num_frames=4", "--data.frame_stride=2"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, make_video) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("own") / "videos", make_video)
    (folder / "several.csv").write_text(
        "video_0.mp4 0|1\nvideo_1.mp4 1\nvideo_2.mp4,left\nvideo_3.mp4,left|right\n"
    )
    return folder


def quiet(run: Path, folder: str = "") -> list[str]:
    where = [f"--trainer.default_root_dir={run / folder}"] if folder else []
    return [
        *where,
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--data.num_workers=0",
    ]


def test_videos_of_several_classes(dataset: Path, tmp_path: Path, capsys) -> None:
    lists = [f"--data.{name}_csv={dataset / 'several.csv'}" for name in ("train", "val", "test")]
    options = [*shrink(dataset, tmp_path), *TINY, *lists, "--model.multi_label=true", "--data.balance=1"]
    assert main(["fit", *options, "--data.frame_times=segments"]) == 0
    best = str(tmp_path / "checkpoints" / "best.ckpt")
    # What the checkpoint is of is not said again.
    listed = [lists[2], f"--data.class_list={dataset / 'classes.txt'}"]
    assert main(["test", best, *listed, *quiet(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "mAP" in out
    assert "4 frames of as many segments" in out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    stored = np.load(tmp_path / "scores.npz")
    assert stored["labels"].tolist() == [[1, 1], [0, 1], [1, 0], [1, 1]]
    precisions = [
        np.mean([wanted[scores >= scores[i]].mean() for i in np.flatnonzero(wanted)])
        for scores, wanted in zip(stored["probabilities"].T, stored["labels"].T, strict=True)
    ]
    assert metrics["mean_average_precision"] == pytest.approx(np.mean(precisions), abs=1e-4)
    assert (metrics["model_card"]["multi_label"], metrics["model_card"]["frame_times"]) == (True, "segments")
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["left|right", "right", "left", "left|right"]
    with (tmp_path / "per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["videos"] for row in rows] == ["3", "3"]
    assert [float(row["average_precision"]) for row in rows] == pytest.approx(precisions, abs=1e-4)
    # A list of several classes is one to predict from, too.
    listed[0] = str(dataset / "several.csv")
    assert main(["predict", best, *listed, *quiet(tmp_path)]) == 0
    assert main(["predict", best, str(dataset / "video_0.mp4"), *quiet(tmp_path, "predicted")]) == 0
    (entry,) = json.loads(next(tmp_path.rglob("predict.json")).read_text())
    assert list(entry["probabilities"].values()) == pytest.approx(stored["probabilities"][0], abs=1e-5)


def test_a_network_of_ones_own(dataset: Path, tmp_path: Path, capsys) -> None:
    network = ["--model.network=tests.test_own_parts.Small", "--model.network.init_args.num_classes=2"]
    assert main(["fit", *shrink(dataset, tmp_path), *TINY, *network, "--model.alpha=0.5"]) == 0
    best = str(tmp_path / "checkpoints" / "best.ckpt")
    test = ["test", best, f"--data.test_csv={dataset / 'all.csv'}", *quiet(tmp_path)]
    capsys.readouterr()
    assert main(test) == 2
    assert "Small" in capsys.readouterr().err
    assert main([*test, *network]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["name"], metrics["alpha"]) == ("Small", 0.5)
    assert metrics["gflops"] < metrics["dense_gflops"]


def test_a_tests_picture_reaches_tensorboard(dataset: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert main(["fit", *shrink(dataset, tmp_path), *TINY]) == 0
    best = str(tmp_path / "checkpoints" / "best.ckpt")
    logger = ["--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={tmp_path / 'tb'}"]
    listed = [f"--data.test_csv={dataset / 'all.csv'}", f"--data.class_list={dataset / 'classes.txt'}"]
    assert main(["test", best, *listed, *quiet(tmp_path), *logger]) == 0
    tags: dict[str, set[str]] = {"images": set(), "scalars": set()}
    for events in (tmp_path / "tb").rglob("events.*"):
        read = accumulator.EventAccumulator(str(events))
        read.Reload()
        for kind, names in tags.items():
            names.update(read.Tags()[kind])
    assert tags["images"] == {"test/confusion"}
    assert "test/top1" in tags["scalars"]
