"""Every shipped YAML is parsed, built, trained for a step and tested, on videos of 48 pixels."""

import json
from pathlib import Path

import pytest
import yaml

from octvideo.cli import main
from octvideo.models import MODELS
from tests.cli_videos import shrink, write_dataset

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
KINETICS400 = sorted((CONFIGS / "kinetics400").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS).with_suffix("")))
def test_config_trains_and_tests(file: Path, tmp_path: Path, make_video) -> None:
    dataset = write_dataset(tmp_path / "data", make_video)
    options = ["--config", str(file), *shrink(dataset, tmp_path / "run")]
    assert main(["fit", *options, "--checkpoint.save_top_k=0"]) == 0  # only last.ckpt: they are large
    short = ["--data.num_clips=1", "--data.eval_batch_size=1", "--trainer.limit_test_batches=2"]
    assert main(["test", *options, *short, "--ckpt_path", "last"]) == 0

    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    config = yaml.safe_load(file.read_text())
    assert metrics["videos_scored"] == 2
    assert metrics["unreadable"] == []
    assert metrics["name"] == config["model"]["name"]
    assert metrics["alpha"] == config["model"].get("alpha", 0.0)
    assert metrics["model_card"]["num_frames"] == config["data"].get("num_frames", 8)
    assert metrics["model_card"]["class_names"] == ["left", "right"]


def test_kinetics400_ships_what_it_promises() -> None:
    names = {file.stem for file in KINETICS400}
    assert {"i3d_r50", "oct_i3d_r50", "slowfast_r50", "oct_slowfast_r50"} <= names


@pytest.mark.parametrize("file", KINETICS400, ids=lambda file: file.stem)
def test_kinetics400_is_the_published_recipe(file: Path) -> None:
    config = yaml.safe_load(file.read_text())
    trainer, model, data = config["trainer"], config["model"], config["data"]
    assert trainer["max_epochs"] == 196
    assert model["warmup_epochs"] == 34
    assert model["warmup_start_lr"] == 0.01
    assert model["weight_decay"] == 1e-4
    # PySlowFast: learning rate 0.1 for 64 clips
    assert (model["lr"], model["lr_batch_size"]) == (0.1, 64)
    assert trainer["devices"] * data["batch_size"] == 64
    assert data["short_side"] == [256, 320]
    assert data["crop"] == 224
    assert (data["num_clips"], data["num_crops"], data["test_crop"]) == (10, 3, 256)
    spec = MODELS[model["name"]]
    assert (data["num_frames"], data["frame_stride"]) == (spec.num_frames, spec.frame_stride)
    assert (model.get("alpha", 0.0) > 0) == file.stem.startswith("oct_")
