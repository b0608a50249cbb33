"""Labels, networks and loggers of one's own, through the command line."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_utilities.core.imports import RequirementCache

from octvideo.classifier import VideoClassifier, load_classifier
from octvideo.cli import main
from octvideo.models import open_weights
from octvideo.models.checkpoints import CARD_KEY, read_checkpoint
from octvideo.models.exported import load_exported
from octvideo.models.weights import read_weights
from tests.cli_checkpoint import write_checkpoint
from tests.cli_videos import shrink, write_dataset
from tests.test_own_parts import Small

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


@pytest.fixture
def own_checkpoint(tmp_path: Path) -> Path:
    classifier = VideoClassifier(network=Small(num_classes=2), num_classes=2)
    card = {
        "card": {
            **classifier.card.to_dict(),
            "num_frames": 4,
            "crop": 32,
            "test_crop": 32,
            "test_short_side": 34,
        }
    }
    content = {"state_dict": classifier.state_dict(), "hyper_parameters": dict(classifier.hparams)}
    torch.save({**content, CARD_KEY: card}, tmp_path / "own.ckpt")
    return tmp_path / "own.ckpt"


OWN = ["--model.network", "tests.test_own_parts.Small", "--model.network.init_args.num_classes=2"]


def test_features_and_exports_of_a_network_of_ones_own(dataset: Path, own_checkpoint: Path, capsys) -> None:
    """Both said that there is no such model, and had no option to name it."""
    folder = own_checkpoint.parent
    videos = [str(dataset / "all.csv"), "--out", str(folder / "features.npz"), "--num_workers=0"]
    few = ["--num_clips=1", "--num_crops=1", "--device=cpu", "--layer=body"]
    assert main(["features", str(own_checkpoint), *videos, *few]) == 2
    assert "is of Small, a network of one's own" in capsys.readouterr().err
    assert main(["features", str(own_checkpoint), *videos, *few, *OWN]) == 0
    assert np.load(folder / "features.npz")["features"].shape == (4, 16)
    out = folder / "own.pt2"
    assert main(["export", str(own_checkpoint), str(out)]) == 2
    assert main(["export", *OWN, str(own_checkpoint), str(out)]) == 0
    network, card = load_exported(out)
    assert (card.name, card.num_classes) == ("Small", 2)
    x = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        expected = load_classifier(own_checkpoint, network=Small(num_classes=2))(x)
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
    capsys.readouterr()
    assert main(["export", *OWN[:1], "tests.test_own_parts.Nothing", str(own_checkpoint), str(out)]) == 2
    assert "tests.test_own_parts.Nothing" in capsys.readouterr().err


def test_bare_weights_of_a_network_of_ones_own(dataset: Path, tmp_path: Path) -> None:
    """A state dict says nothing of itself; the network that is named says what it is of."""
    torch.save(Small(num_classes=2).state_dict(), tmp_path / "bare.pth")
    opened = open_weights(tmp_path / "bare.pth", network=Small(num_classes=2), num_classes=2, alpha=0.5)
    assert (opened.card.name, opened.card.alpha) == ("Small", 0.5)
    listed = [f"--data.test_csv={dataset / 'all.csv'}", *TINY[1:], "--data.crop=32", "--data.test_crop=32"]
    listed += ["--data.test_short_side=34", "--data.num_clips=1", "--data.num_crops=1"]
    assert (
        main(
            [
                "test",
                str(tmp_path / "bare.pth"),
                *listed,
                *quiet(tmp_path, "run"),
                *OWN,
                "--model.num_classes=2",
            ]
        )
        == 0
    )


def test_weights_are_read_once_a_command(dataset: Path, tmp_path: Path, monkeypatch) -> None:
    """They were read for their card, and again for the network: a second each of a large one."""
    small = {
        "num_frames": 4,
        "frame_stride": 2,
        "short_side": [34, 40],
        "crop": 32,
        "num_clips": 1,
        "num_crops": 1,
    }
    file = write_checkpoint(tmp_path / "net.ckpt", **small, test_short_side=34, test_crop=32)
    files: list[Path] = []

    def counted(path: Path) -> Any:
        files.append(path)
        return read_checkpoint(path)

    monkeypatch.setattr("octvideo.models.weights.read_checkpoint", counted)
    video = str(dataset / "video_0.mp4")
    for words in (
        ["test", str(file), f"--data.test_csv={dataset / 'all.csv'}", *quiet(tmp_path, "run")],
        ["predict", str(file), video, *quiet(tmp_path, "run")],
        ["features", str(file), video, "--out", str(tmp_path / "features.npz"), "--num_workers=0"],
        ["export", str(file), str(tmp_path / "net.pt2")],
    ):
        files.clear()
        assert main(words) == 0
        assert files == [file], words[0]
    write_checkpoint(file, alpha=0.5, **small)  # another file of that name is read
    assert read_weights(file).card.alpha == 0.5


LOGGERS = {
    "WandbLogger": "wandb._WANDB_AVAILABLE",
    "MLFlowLogger": "mlflow._MLFLOW_AVAILABLE",
    "CometLogger": "comet._COMET_AVAILABLE",
}


@pytest.mark.parametrize("name", [*LOGGERS, "TensorBoardLogger"])
@pytest.mark.parametrize("how", ["", "+"])
def test_a_logger_without_its_package_says_which(
    dataset: Path, tmp_path: Path, monkeypatch, capsys, name, how
) -> None:
    """It said that a Namespace is no Logger."""
    if name in LOGGERS:
        missing = RequirementCache("octvideo-has-no-such-package>=1")
        monkeypatch.setattr(f"lightning.pytorch.loggers.{LOGGERS[name]}", missing)
    else:
        for place in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
            monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{place}", False)
    asked = [f"--trainer.logger{how}={name}"]
    asked += [f"--trainer.logger.save_dir={tmp_path}"] if name == "TensorBoardLogger" else []
    if how and len(asked) > 1:
        asked = [f'--trainer.logger+={{"class_path": "{name}", "init_args": {{"save_dir": "{tmp_path}"}}}}']
    assert main(["fit", *shrink(dataset, tmp_path / "run"), *TINY, *asked]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("octvideo: error")]
    assert f"loggers.{name}: " in line.replace("loggers.tensorboard.", "loggers.")
    wanted = "octvideo-has-no-such-package" if name in LOGGERS else "tensorboard"
    assert re.search(rf"`pip install(`ing|.*{wanted})", line), line
    assert not (tmp_path / "run").exists()
