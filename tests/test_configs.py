"""Every shipped recipe is parsed, built and trained for a step, on videos of 48 pixels; and is the published one."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torchvision.models import resnet50

from octvideo.cli import main
from octvideo.models import MODELS, create_model
from tests.cli_videos import shrink, write_dataset

CONFIGS = Path(__file__).parents[1] / "configs"
KINETICS400 = sorted((CONFIGS / "kinetics400").glob("*.yaml"))
KINETICS600 = sorted((CONFIGS / "kinetics600").glob("*.yaml"))
NETWORKS = {
    "c2d_r50",
    "i3d_r50",
    "i3d_nl_r50",
    "slow_r50",
    "slowfast_r50",
    "slowfast_r101",
    "csn_r101",
    "r2plus1d_r50",
    "x3d_s",
    "x3d_m",
}
IN_THE_PAPER = {"c2d_r50", "i3d_r50", "i3d_nl_r50"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, make_video) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), make_video)


@pytest.fixture(scope="module")
def image_network(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(resnet50().state_dict(), file)
    return file


@pytest.mark.parametrize("name", ["demo", "finetune"])
def test_config_trains_and_tests(name: str, dataset: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pyth"
    torch.save({"model_state": create_model("i3d_tiny", num_classes=400).state_dict()}, weights)
    options = ["--config", str(CONFIGS / f"{name}.yaml"), *shrink(dataset, tmp_path / "run")]
    options += ["--model.name=i3d_tiny", "--data.num_frames=4"]
    if name == "finetune":
        options += [f"--model.checkpoint={weights}"]
    assert main(["fit", *options]) == 0
    short = ["--data.num_clips=1", "--data.eval_batch_size=1", "--trainer.limit_test_batches=2"]
    assert main(["test", *options, *short, "--ckpt_path", "last"]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert metrics["videos_scored"] == 2
    assert metrics["alpha"] == config["model"]["alpha"]
    assert metrics["model_card"]["class_names"] == ["left", "right"]


KINDS = ("i3d_r50", "oct_i3d_r50_imagenet", "oct_slowfast_r50", "x3d_s")


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    # One of each kind; the others differ in the network's name, and Kinetics-600's in the classes alone.
    [
        pytest.param(file, marks=() if file in KINETICS400 and file.stem in KINDS else pytest.mark.soak)
        for file in KINETICS400 + KINETICS600
    ],
    ids=lambda file: f"{file.parent.name}/{file.stem}",
)
def test_kinetics_recipe_trains(
    file: Path, dataset: Path, tmp_path: Path, image_network: Path, capsys
) -> None:
    options = ["--config", str(file), *shrink(dataset, tmp_path / "run"), "--trainer.fast_dev_run=1"]
    if file.stem.endswith("_imagenet"):
        options.append(f"--model.image_checkpoint={image_network}")
    assert main(["fit", *options]) == 0
    shown = capsys.readouterr().out
    assert yaml.safe_load(file.read_text())["model"]["name"] in shown
    assert ("inflated along time" in shown) == file.stem.endswith("_imagenet")


def test_all_recipes_are_there() -> None:
    names = {file.stem for file in KINETICS400}
    assert names >= NETWORKS
    for name in IN_THE_PAPER:
        assert names >= {f"oct_{name}", f"{name}_imagenet", f"oct_{name}_imagenet"}
    assert {file.stem for file in KINETICS600} == names


def test_the_kinetics_files_are_what_their_source_writes() -> None:
    """Forty files that differ in few lines: a change of one is a change of configs/kinetics.py."""
    written = runpy.run_path(str(CONFIGS / "kinetics.py"))["files"]()
    assert written == {
        file.relative_to(CONFIGS).as_posix(): file.read_text() for file in KINETICS400 + KINETICS600
    }


def read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


@pytest.mark.parametrize("file", KINETICS400, ids=lambda file: file.stem)
def test_kinetics400_is_the_published_recipe(file: Path) -> None:
    config = read(file)
    trainer, model, data = config["trainer"], config["model"], config["data"]
    octave, name, imagenet = re.fullmatch(r"(oct_)?(.*?)(_imagenet)?", file.stem).groups()
    assert model["name"] == name
    expected = 0.0 if not octave else 0.1 if name in IN_THE_PAPER else 0.125
    assert model["alpha"] == expected
    x3d = name.startswith("x3d")
    # PySlowFast's configs/Kinetics: C2D, I3D, SLOW, SLOWFAST_8x8_R50, pytorchvideo/*, X3D_S, X3D_M; *_IN1K.
    clips = 128 if x3d else 64
    assert trainer["devices"] * data["batch_size"] == model["lr_batch_size"] == clips
    assert model["weight_decay"] == (5e-5 if x3d else 1e-4)
    assert model["precise_norm_batches"] == 200
    if imagenet:
        assert (trainer["max_epochs"], model["lr"], model["schedule"]) == (118, 0.01, "step")
        assert model["drop_epochs"] == [44, 88]
        assert "warmup_epochs" not in model
    else:
        assert "image_checkpoint" not in model
        assert (trainer["max_epochs"], model["warmup_epochs"]) == ((300, 35) if x3d else (196, 34))
        assert (model["lr"], model["warmup_start_lr"]) == (0.1, 0.01)
    assert trainer["max_epochs"] % trainer["check_val_every_n_epoch"] == 0
    recipe = MODELS[name].card.recipe  # of the published weights
    for key in ("num_frames", "frame_stride", "short_side", "crop", "test_short_side", "test_crop"):
        assert data[key] == recipe[key], key
    assert (data["num_clips"], data["num_crops"]) == (10, 3)


@pytest.mark.parametrize("file", KINETICS600, ids=lambda file: file.stem)
def test_kinetics600_is_kinetics400_with_more_classes(file: Path) -> None:
    text = json.dumps(read(CONFIGS / "kinetics400" / file.name)).replace("kinetics400", "kinetics600")
    expected = json.loads(text)
    expected["model"]["num_classes"] = 600
    assert read(file) == expected
    assert "num_classes: 600" in file.read_text()
