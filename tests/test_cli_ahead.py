"""What a command line is told without torch: mistakes, help, the table of models."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from octvideo.card import Card
from octvideo.cli import ahead, main
from octvideo.cli.configurations import settled
from octvideo.cli.models_table import figures
from octvideo.cli.options import check_trainer, multiplies_bfloat16
from octvideo.cli.own import as_trained
from octvideo.errors import InputError
from octvideo.models import MODELS, ModelSpec, register_model
from octvideo.models.figures import figures_of
from octvideo.models.tiny import i3d_tiny
from tests.cli_videos import write_dataset

MISTAKES = [
    ["fit", "--config", "nowhere.yaml"],
    ["fit", "--modl.alpha", "0.5"],
    ["fit", "--model.alpha", "much"],
    ["fit", "--model.alpha", "1.5"],
    ["fit", "--model.lr", "-1"],
    ["fit", "--model.name", "c4d"],
    ["fit", "--data.augment.mixup", "a lot"],
    ["fit", "--data.crop", "0"],
    ["fit"],
    ["fit", "--data.train_csv", "nowhere.csv"],
    ["fit", "--config", "demo"],
    [
        "fit",
        "--config",
        "kinetics400/oct_i3d_r50",
        "--trainer.accelerator",
        "cpu",
        "--trainer.precision",
        "32",
    ],
    ["test"],
    ["test", "--ckpt_path", "nothing.ckpt"],
    ["test", "a.ckpt", "b.ckpt"],
    ["predict", "my_video.mp4"],
    ["predict", "a.ckpt", "nothing*.mp4"],
    ["predict", "--exported", "nothing.onnx", "my_video.mp4"],
    ["predict", "a.ckpt", "--window_s", "-1"],
    ["export", "nothing.ckpt", "a.onnx"],
    ["export", "nothing.ckpt", "a.bin"],
    ["export", "i3d_tiny", "a.onnx", "--crop", "0"],
    ["adapt", "nothing.ckpt", "--alpha", ".25", "--videos", ".", "--out", "a.ckpt"],
    ["adapt", "i3d_tiny", "--alpha", "2", "--videos", ".", "--out", "a.ckpt"],
    ["adapt", "i3d_tiny", "--alpha", ".25", "--videos", "nothing.mp4", "--out", "a.ckpt"],
    ["features", "nothing.ckpt", ".", "--out", "a.npz"],
    ["features", "i3d_tiny", "nothing.mp4", "--out", "a.npz"],
    ["features", "i3d_tiny", ".", "--out", "a.txt"],
    ["probe", "nothing.npz", "nothing.npz"],
    ["weights", "c4d"],
    ["bench", "model", "c4d"],
    ["bench", "decode", "nothing.mp4"],
    ["bench", "data", "nothing.mp4"],
    ["compare", "nowhere"],
    ["models", "--alpha", "x"],
    ["prep", "manifest", "nowhere", "lists"],
    ["prep", "motions", "out", "--seed", "-1"],
]


def test_mistakes_do_not_wait_for_torch(tmp_path: Path) -> None:
    """The seconds that importing it takes were most of an answer's time."""
    words = [*MISTAKES, ["models"], ["fit", "--help"]]
    code = f"import sys\nfrom octvideo.cli import main\nfor words in {words}:"
    code += "\n    print(main(words), 'torch' in sys.modules, *words, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=100
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith(("0 ", "1 ", "2 "))]
    assert len(lines) == len(MISTAKES) + 2, done.stderr
    assert [line for line in lines if not line.startswith(("2 False", "0 False"))] == []
    said = [
        line for line in done.stderr.splitlines() if line.startswith(("octvideo: error: ", "octvideo prep "))
    ]
    assert len(said) == len(MISTAKES)


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        out |= flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return out


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_options_are_those_of_the_real_parser(command: str, capsys) -> None:
    """Read out of the source without importing it, so that a wrong one is known at once."""
    assert main([command, "--print_config"]) == 0
    real = flat(yaml.safe_load(capsys.readouterr().out))
    ours = flat(ahead.option_parser(command).get_defaults().as_dict())
    ours.pop("config")
    assert set(ours) - set(real) <= {"trainer.callbacks"}
    assert set(real) - set(ours) <= {"return_predictions", "weights_only"}
    # Set by the command itself; or a class of Lightning's.
    differ = {key for key in set(real) & set(ours) if _plain(real[key]) != _plain(ours[key])}
    assert differ <= {"trainer.enable_model_summary", "seed_everything"}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    "words",
    [
        ["--trainer.logger.class_path=lightning.pytorch.loggers.CSVLogger"],
        ["--trainer.callbacks+=LearningRateMonitor"],
        ["--model.class_path=mine.Network"],
        ["--trainer=trainer.yaml"],
        ["--print_config"],
    ],
)
def test_what_it_does_not_know_is_left_to_the_real_parser(words: list[str]) -> None:
    ahead.check("fit", words)


def test_weights_say_how_to_get_them(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("octvideo.cli.options.surely_no_gpu", lambda: True)
    monkeypatch.setattr("octvideo.cli.options.multiplies_bfloat16", lambda: False)  # as on most CPUs
    words = settled(["--config", "finetune"])
    with pytest.raises(FileNotFoundError, match=r"curl --create-dirs -o data/I3D_8x8_R50\.pyth https://dl"):
        ahead.check("fit", words)


def test_configurations_of_the_package(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "kinetics400/oct_i3d_r50",
        "kinetics400/oct_i3d_r50.yaml",
        "configs/kinetics400/oct_i3d_r50.yaml",
    ):
        (found,) = settled([f"--config={name}"])
        assert yaml.safe_load(Path(found.removeprefix("--config=")).read_text())["model"]["name"] == "i3d_r50"
    own = tmp_path / "kinetics400" / "oct_i3d_r50"
    own.parent.mkdir()
    own.write_text("model: {alpha: 0.5}")
    assert settled(["--config", "kinetics400/oct_i3d_r50"]) == ["--config", "kinetics400/oct_i3d_r50"]
    with pytest.raises(FileNotFoundError, match="none of octvideo's"):
        settled(["--config", "../octvideo/errors.py"])


def test_a_run_is_scored_as_it_was_trained(tmp_path: Path) -> None:
    """`fit --config FILE --model.alpha 0.5`, then `test --config FILE`: FILE's own alpha would be another network."""
    file, run = tmp_path / "file.yaml", tmp_path / "run"
    recipe = {
        "model": {"name": "i3d_tiny", "alpha": 0.25},
        "data": {"train_csv": "a.csv", "num_frames": 8, "crop": 64},
    }
    file.write_text(yaml.safe_dump({**recipe, "trainer": {"default_root_dir": str(run)}}))
    words = ["--config", str(file), "--ckpt_path", "best"]
    assert as_trained(words) == (words, [])  # there is no such run
    run.mkdir()
    recipe["model"]["alpha"], recipe["data"]["crop"] = 0.5, 48
    (run / "config.yaml").write_text(yaml.safe_dump(recipe))
    args, notes = as_trained(words)
    assert args == [*words, "--model.alpha=0.5", "--data.crop=48"]
    assert notes[0] == f"note: model.alpha is 0.5, as {run}/config.yaml has it; {file} says 0.25"
    args, _ = as_trained([*words, "--model.alpha", "0"])
    assert args == [*words, "--model.alpha", "0", "--data.crop=48"]
    elsewhere = ["--config", str(file), f"--ckpt_path={tmp_path}/other/checkpoints/best.ckpt"]
    assert as_trained(elsewhere) == (elsewhere, [])


def test_help_shows_what_people_use(capsys) -> None:
    assert main(["fit", "--help"]) == 0
    few = capsys.readouterr().out
    assert few.count("\n  --") < 25
    assert "--model.lr " in few
    assert re.search(r"lists all 1\d\d options", few)
    assert main(["fit", "--help", "all"]) == 0
    assert "--trainer.gradient_clip_algorithm" in capsys.readouterr().out
    assert main(["predict", "--help"]) == 0
    few = capsys.readouterr().out
    assert "--window_s" in few
    assert "--model.lr" not in few


@pytest.mark.parametrize(
    ("text", "multiplies"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f\n", False),
        ("flags\t\t: avx512_bf16 fpu\n", True),
        ("flags\t\t: amx_bf16\n", True),
        ("nothing of it\n", True),
    ],
)
def test_bfloat16_without_its_instructions_stops(
    tmp_path: Path, monkeypatch, text: str, multiplies: bool
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    monkeypatch.setattr("octvideo.cli.options.platform.machine", lambda: "x86_64")
    assert multiplies_bfloat16(cpuinfo) == multiplies
    monkeypatch.setattr("octvideo.cli.options.multiplies_bfloat16", lambda: multiplies)
    settings = {"accelerator": "cpu", "precision": "bf16-mixed"}
    if multiplies:
        check_trainer("fit", settings)
        return
    with pytest.raises(InputError, match=r"no instructions for bfloat16.*--trainer\.precision 32-true"):
        check_trainer("fit", settings)


def test_a_gpu_that_is_not_there(monkeypatch) -> None:
    monkeypatch.setattr("octvideo.cli.options.surely_no_gpu", lambda: True)
    with pytest.raises(InputError, match="accelerator is gpu, and this machine has no GPU"):
        check_trainer("fit", {"accelerator": "gpu", "devices": 8})


def test_stored_figures_are_of_these_networks() -> None:
    """`octvideo models` counted for a minute."""
    assert list(figures()) == list(MODELS)
    assert figures()["i3d_tiny"] == figures_of("i3d_tiny")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MODELS))
def test_stored_figures_are_counted_again(name: str) -> None:
    assert figures()[name] == figures_of(name)


def test_a_registered_network_is_a_name(tmp_path: Path, make_video, capsys) -> None:
    """A program of one's own registers it and calls the command line, which refused names that it did not ship."""
    card = Card(num_frames=4, frame_stride=2, crop=32)
    listed = write_dataset(tmp_path / "videos", make_video)
    words = [
        f"--data.train_csv={listed / 'all.csv'}",
        "--model.num_classes=2",
        f"--trainer.default_root_dir={tmp_path}",
    ]
    words += [
        "--model.name=my_net",
        "--trainer.accelerator=cpu",
        "--trainer.fast_dev_run=true",
        "--data.num_workers=0",
    ]
    assert main(["fit", *words]) == 2
    assert "'my_net'; it must be one of i3d_tiny, " in (line := capsys.readouterr().err)
    assert "your own program has registered (register_model) before it calls octvideo.cli.main" in line
    register_model(
        "my_net", ModelSpec(lambda classes: i3d_tiny(model_num_class=classes), card, "blocks.5.proj")
    )
    try:
        assert main(["fit", *words]) == 0
        assert main(["models"]) == 0
    finally:
        del MODELS["my_net"]
    assert re.search(r"my_net +4x2 @ 32 +0\.\d\d M", capsys.readouterr().out)
