"""The `octvideo` command as a user meets it: what it writes, and one line for every mistake."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from octvideo.cli import main
from octvideo.cli.errors import explain
from octvideo.cli.run_folder import RunLogger
from octvideo.data import watchdog
from octvideo.models import create_model
from tests.cli_videos import NUM_VIDEOS, shrink, write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, make_video) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), make_video)


TINY = ("--model.name=i3d_tiny", "--data.num_frames=4", "--data.frame_stride=2", "--seed_everything=1")


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory) -> Path:
    """The run folder of a short training."""
    folder = tmp_path_factory.mktemp("run")
    assert (
        main(
            [
                "fit",
                *shrink(dataset, folder),
                *TINY,
                "--trainer.max_epochs=2",
                "--trainer.limit_train_batches=2",
            ]
        )
        == 0
    )
    return folder


def error_line(capsys, *arguments: str) -> str:
    """The one line on stderr of a command that must fail as a user's mistake."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "Warning" not in line and line.strip()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("octvideo: error: ")
    return lines[0]


# What is written


def test_fit_leaves_a_run_folder(run: Path) -> None:
    names = {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file()}
    assert {"config.yaml", "metrics.csv", "curves.png"} <= names
    assert {"checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= names
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = {"epoch", "step", "train/loss", "lr", "train/data_seconds", "train/step_seconds", "val/top1"}
    assert columns <= set(rows[0])
    assert [row["step"] for row in rows if row["train/loss"]] == ["0", "1", "2", "3"]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["name"] == "i3d_tiny"
    assert config["seed_everything"] == 1


def test_tensorboard_has_what_the_csv_has(run: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = events.EventAccumulator(str(run / "tensorboard"))
    read.Reload()
    with (run / "metrics.csv").open() as file:
        losses = {row["step"]: float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]}
    found = {str(event.step): event.value for event in read.Scalars("train/loss")}
    assert found == pytest.approx(losses, rel=1e-5)


def test_checkpoints_are_plain(run: Path) -> None:
    for name in ("best", "last"):
        content = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert content["octvideo"]["card"]["class_names"] == ["left", "right"]
        assert content["octvideo"]["card"]["num_frames"] == 4
        assert content["hyper_parameters"]["name"] == "i3d_tiny"


def test_the_saved_configuration_runs_again(run: Path, tmp_path) -> None:
    assert main(["fit", "--config", str(run / "config.yaml"), f"--trainer.default_root_dir={tmp_path}"]) == 0
    first, second = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (run, tmp_path)
    )
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0, msg=name)  # seeded


def test_test_writes_numbers_and_pictures(run: Path, dataset: Path, tmp_path, capsys) -> None:
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    command = ["test", "--config", str(run / "config.yaml"), f"--trainer.default_root_dir={tmp_path}"]
    assert main([*command, "--ckpt_path", checkpoint]) == 0
    shown = capsys.readouterr().out
    assert "top-1" in shown
    assert f"{NUM_VIDEOS} of {NUM_VIDEOS}" in shown
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(dataset / f"video_{i}.mp4") for i in range(NUM_VIDEOS)]
    assert metrics["top1"] == sum(row["label"] == row["class_1"] for row in rows) / NUM_VIDEOS
    assert metrics["top5"] == 1.0
    assert metrics["num_views"] == 2
    assert metrics["checkpoint"] == checkpoint
    assert metrics["gflops"] == metrics["dense_gflops"] > 0
    assert metrics["parameters"] > 0
    Image.open(tmp_path / "confusion.png").verify()


def test_settings_come_out_of_the_checkpoint(run: Path, dataset: Path, tmp_path, capsys) -> None:
    folder = tmp_path / "copy"
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint = shutil.copy(run / "checkpoints" / "best.ckpt", folder / "checkpoints" / "best.ckpt")
    options = [f"--data.test_csv={dataset / 'all.csv'}", "--data.num_workers=0", "--trainer.accelerator=cpu"]
    options += ["--trainer.enable_progress_bar=false", "--ckpt_path", str(checkpoint)]
    assert main(["test", *options]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())  # the checkpoint's run folder
    assert (metrics["name"], metrics["num_classes"], metrics["num_views"]) == ("i3d_tiny", 2, 2)
    assert metrics["model_card"]["num_frames"] == 4
    assert (metrics["model_card"]["short_side"], metrics["model_card"]["crop"]) == (
        [34, 40],
        32,
    )  # the training's
    assert metrics["model_card"]["class_names"] == ["left", "right"]

    capsys.readouterr()
    rounded = ["--model.alpha=0.5", "--model.channel_multiple=16", '--model.layer_alphas={"blocks.3.*": 0}']
    assert main(["test", *options, *rounded, "--data.num_clips=1"]) == 0
    shown = capsys.readouterr().out
    assert "note: model.alpha is 0.5, the checkpoint's is 0.0" in shown
    assert "note: data.num_clips is 1, the checkpoint's is 2" in shown
    assert "quick" in shown  # one view is said to be one
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["alpha"], metrics["channel_multiple"]) == (0.5, 16)
    assert metrics["layer_alphas"] == metrics["model_card"]["layer_alphas"] == {"blocks.3.*": 0}
    assert metrics["gflops"] < metrics["dense_gflops"]


def test_validate(run: Path, capsys) -> None:
    assert main(["validate", "--config", str(run / "config.yaml"), "--ckpt_path", "best"]) == 0
    assert "val/top1" in capsys.readouterr().out


def test_fit_resumes_from_last_and_keeps_its_rows(run: Path, dataset: Path, tmp_path, capsys) -> None:
    command = ["fit", *shrink(dataset, tmp_path), *TINY, "--ckpt_path=last"]
    assert main([*command, "--trainer.max_epochs=1"]) == 0
    assert "starts from the beginning" in capsys.readouterr().out
    assert main([*command, "--trainer.max_epochs=2"]) == 0
    assert "starts from the beginning" not in capsys.readouterr().out
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["train/loss"]] == ["0", "1"]
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
    assert (tmp_path / "checkpoints" / "last-v1.ckpt").exists() is False


def test_fit_without_validation(dataset: Path, tmp_path) -> None:
    assert main(["fit", *shrink(dataset, tmp_path), *TINY, "--data.val_csv=null"]) == 0
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


def test_unreadable_videos_are_named(run: Path, dataset: Path, tmp_path, capsys) -> None:
    (dataset / "broken.mp4").write_text("no video at all")
    (tmp_path / "list.csv").write_text("video_0.mp4 0\nbroken.mp4 1\n")
    command = ["test", "--config", str(run / "config.yaml"), f"--trainer.default_root_dir={tmp_path}"]
    command += [f"--data.test_csv={tmp_path / 'list.csv'}", f"--data.root={dataset}"]
    assert main([*command, "--ckpt_path", str(run / "checkpoints" / "last.ckpt")]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["videos_listed"], metrics["videos_scored"]) == (2, 1)
    (unreadable,) = metrics["unreadable"]
    assert unreadable["path"] == str(dataset / "broken.mp4")
    shown = capsys.readouterr().out
    assert "1 of 2" in shown
    assert shown.count(str(dataset / "broken.mp4")) == 1  # named once
    assert (tmp_path / "report.html").read_text().count(str(dataset / "broken.mp4")) == 1


# Real footage


def test_predict_real_footage(run: Path, clips: Path, tmp_path, capsys) -> None:
    videos = [clips / "flipping_a_pancake.mkv", clips / "arm_wrestling.mp4"]
    command = ["predict", f"--data.predict_paths=[{','.join(map(str, videos))}]", "--data.num_workers=0"]
    command += [f"--trainer.default_root_dir={tmp_path}", "--trainer.accelerator=cpu"]
    assert main([*command, "--ckpt_path", str(run / "checkpoints" / "best.ckpt")]) == 0
    shown = capsys.readouterr().out
    content = json.loads((tmp_path / "predictions" / "1" / "predict.json").read_text())
    assert [row["path"] for row in content] == list(map(str, videos))
    for row in content:
        assert set(row["probabilities"]) == {"left", "right"}
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-6)
        assert row["path"] in shown
    assert "%  left" in shown


def test_fit_on_real_footage(clips: Path, dataset: Path, tmp_path) -> None:
    (tmp_path / "real.csv").write_text("flipping_a_pancake.mkv 0\narm_wrestling.mp4 1\n")
    options = [*shrink(dataset, tmp_path / "run"), *TINY, f"--data.root={clips}"]
    options += [f"--data.{name}_csv={tmp_path / 'real.csv'}" for name in ("train", "val")]
    assert main(["fit", *options]) == 0
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_predict_takes_files_folders_and_patterns(run: Path, dataset: Path, tmp_path) -> None:
    checkpoint = str(run / "checkpoints" / "best.ckpt")
    words = [str(dataset / "video_0.mp4"), str(dataset / "video_[12].mp4")]
    options = [f"--trainer.default_root_dir={tmp_path}", "--data.num_workers=0", "--trainer.accelerator=cpu"]
    assert main(["predict", checkpoint, *words, *options]) == 0
    content = json.loads((tmp_path / "predictions" / "1" / "predict.json").read_text())
    assert [Path(row["path"]).name for row in content] == [f"video_{i}.mp4" for i in range(3)]


def test_predict_gives_the_scores_of_test(run: Path, dataset: Path, tmp_path) -> None:
    checkpoint = str(run / "checkpoints" / "best.ckpt")
    options = [f"--trainer.default_root_dir={tmp_path}", "--data.num_workers=0", "--trainer.accelerator=cpu"]
    assert main(["predict", checkpoint, str(dataset / "all.csv"), *options]) == 0
    assert main(["test", checkpoint, f"--data.test_csv={dataset / 'all.csv'}", *options]) == 0
    scores = np.load(tmp_path / "scores.npz")["probabilities"]
    content = json.loads((tmp_path / "predictions" / "1" / "predict.json").read_text())
    predicted = [[row["probabilities"][name] for name in ("left", "right")] for row in content]
    np.testing.assert_array_equal(np.float32(predicted), scores)


def test_weights_of_other_projects(dataset: Path, tmp_path, capsys) -> None:
    weights = tmp_path / "zoo.pyth"
    torch.save({"model_state": create_model("i3d_tiny", num_classes=2).state_dict()}, weights)
    options = [*shrink(dataset, tmp_path / "run"), *TINY]
    assert main(["test", str(weights), *options]) == 0
    assert "(pytorchvideo): 104 tensors loaded" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["checkpoint"] == str(weights)
    start = [f"--model.checkpoint={weights}", "--model.alpha=0.5"]
    assert main(["fit", *options, *start]) == 0
    hyper_parameters = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)[
        "hyper_parameters"
    ]
    assert "checkpoint" not in hyper_parameters
    assert "does not say what it is of" in error_line(
        capsys, "test", str(weights), f"--data.test_csv={dataset / 'all.csv'}"
    )
    torch.save({"model_state": create_model("i3d_tiny", num_classes=3).state_dict()}, weights)
    assert "its num_classes is 3, the model's is 2" in error_line(capsys, "test", str(weights), *options)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["train"], ["unknown command 'train'", "fit, validate, test, predict, features"]),
        (["fit", "--config", "nowhere.yaml"], [str(Path("nowhere.yaml").absolute())]),
        (["fit", "--modl.alpha", "0.5"], ["--modl.alpha"]),
        (["fit", "--model.alpha", "much"], ["model.alpha", "float", "much"]),
        (["fit", "--model.alpha", "1.5"], ["model.alpha is 1.5", "0 to 1"]),
        (["fit", "--model.name", "c4d"], ["c4d", "i3d_r50", "slowfast_r50"]),
        (["fit", "--model.num_classes", "0"], ["num_classes is 0"]),
        (["fit", "--trainer.max_epochs", "many"], ["trainer.max_epochs", "int", "many"]),
        (["test"], ["needs a checkpoint"]),
        (["test", "--ckpt_path", "nothing.ckpt"], [str(Path("nothing.ckpt").absolute())]),
        (["test", "a.ckpt", "b.ckpt"], ["one checkpoint", "b.ckpt"]),
        (["predict", "a.ckpt", "nothing*.mp4"], ["no file matches", "nothing*.mp4"]),
        (["models", "--alpha", "x"], ["--alpha", "'x'"]),
    ],
)
def test_mistakes_without_data(capsys, arguments: list[str], texts: list[str]) -> None:
    line = error_line(capsys, *arguments)
    for text in texts:
        assert text in line


def test_mistakes_in_the_data(dataset: Path, tmp_path, capsys) -> None:
    def fit_on(content: str) -> str:
        (tmp_path / "list.csv").write_text(content)
        options = [*shrink(dataset, tmp_path / "run"), *TINY, f"--data.root={dataset}"]
        return error_line(capsys, "fit", *options, f"--data.train_csv={tmp_path / 'list.csv'}")

    line = fit_on("video_0.mp4 0\nvideo_9.mp4 1\n")
    assert str(dataset / "video_9.mp4") in line
    line = fit_on("video_0.mp4 0\nvideo_1.mp4 2\n")
    assert f"{tmp_path / 'list.csv'}" in line
    assert "2" in line
    line = fit_on("video_0.mp4 0\nvideo_1.mp4\n")
    assert f"{tmp_path / 'list.csv'}" in line
    options = [*shrink(dataset, tmp_path / "run"), *TINY]
    assert "nowhere.csv" in error_line(capsys, "fit", *options, "--data.train_csv=nowhere.csv")
    assert "warmup_epochs" in error_line(capsys, "fit", *options, "--model.warmup_epochs=5")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unreadable_training_videos(dataset: Path, tmp_path, capsys, num_workers: int) -> None:
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_text("no video at all")
    (tmp_path / "list.csv").write_text("one.mp4 0\ntwo.mp4 1\n")
    options = [*shrink(dataset, tmp_path / "run"), *TINY, f"--data.train_csv={tmp_path / 'list.csv'}"]
    line = error_line(capsys, "fit", *options, f"--data.num_workers={num_workers}")
    assert str(tmp_path) in line
    assert "Traceback" not in line


def test_mistakes_with_a_checkpoint(run: Path, dataset: Path, tmp_path, capsys) -> None:
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    command = ["test", "--config", str(run / "config.yaml"), f"--trainer.default_root_dir={tmp_path}"]
    line = error_line(capsys, *command, "--ckpt_path", checkpoint, "--model.name=i3d_r50")
    assert checkpoint in line
    assert "i3d_tiny" in line
    line = error_line(
        capsys, *command, "--ckpt_path", checkpoint, "--model.num_classes=5", "--data.class_list=null"
    )
    assert "num_classes is 2, the model's is 5" in line
    (tmp_path / "swapped.txt").write_text("right\nleft\n")
    (tmp_path / "others.txt").write_text("up\nleft\n")
    line = error_line(
        capsys, *command, "--ckpt_path", checkpoint, f"--data.class_list={tmp_path / 'others.txt'}"
    )
    assert "other classes than the checkpoint, first 'up'" in line
    resume = ["fit", "--config", str(run / "config.yaml"), "--ckpt_path", checkpoint]
    line = error_line(capsys, *resume, f"--data.class_list={tmp_path / 'swapped.txt'}")
    assert "in another order than the checkpoint's; a training goes on with its own" in line
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    line = error_line(capsys, *command, "--ckpt_path", str(tmp_path / "text.ckpt"))
    assert str(tmp_path / "text.ckpt") in line


# From exceptions to lines


def test_programming_errors_keep_their_trace(monkeypatch) -> None:
    import octvideo.cli.models_table as models_table

    def broken(args: list[str]) -> int:
        return {}["nothing"]

    monkeypatch.setattr(models_table, "models_command", broken)
    with pytest.raises(KeyError):
        main(["models"])


def test_traceback_on_request(monkeypatch) -> None:
    monkeypatch.setenv("OCTVIDEO_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown command"):
        main(["train"])


@pytest.mark.parametrize(
    "text",
    [
        "unable to resize file </torch_16840_2574100927_0> to the right size: No space left on device (28)",
        "Caught RuntimeError in DataLoader worker process 0.\nunable to write to file </torch_1_2_0>: No space left",
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out "
        "of shared memory. Please try to raise your shared memory limit.",
    ],
)
def test_full_shared_memory_is_no_mystery(text: str) -> None:
    code, line = explain(RuntimeError(text))
    assert code == 1
    assert "shared memory (/dev/shm)" in line
    assert "\n" not in line


def test_the_death_of_a_worker_names_it_and_its_video(monkeypatch) -> None:
    error = RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed. ")
    monkeypatch.setattr(watchdog, "killed", {})
    code, line = explain(error)
    assert code == 1
    assert line.startswith("error: worker process 5 was ended by a signal (Killed)")
    again = RuntimeError("DataLoader worker (pid(s) 5, 6) exited unexpectedly")  # where a batch is waited for
    assert explain(again) == (1, "error: worker process 5 ended by itself")
    again.__cause__ = error
    assert explain(again) == (code, line)
    dog = watchdog.Watchdog(300)
    dog.notes[3] = torch.tensor([5, 2, 0])
    with dog.watching(("/a.mp4", "/b.mp4")):
        dog.notes[3] = torch.tensor([5, 2, 0])
    assert explain(error) == (1, f"{line}, while it decoded /b.mp4")
    monkeypatch.setattr(watchdog, "killed", {5: "/a.mp4: not decoded within 300 seconds"})
    assert explain(error) == (1, "error: /a.mp4: not decoded within 300 seconds")


def test_interruption_is_130() -> None:
    assert explain(KeyboardInterrupt())[0] == 130
    error = SystemExit(1)  # what Lightning makes of it
    error.__context__ = KeyboardInterrupt()
    assert explain(error)[0] == 130


def test_operating_system_errors_name_the_file() -> None:
    code, line = explain(FileNotFoundError(2, "No such file or directory", "a.txt"))
    assert (code, line) == (2, f"error: No such file or directory: {Path('a.txt').absolute()}")
    assert explain(OSError(28, "No space left on device"))[1] == "error: [Errno 28] No space left on device"


# The log


def test_run_log_keeps_earlier_rows_and_grows_columns(tmp_path) -> None:
    first = RunLogger(tmp_path)
    for step in range(3):
        first.log_metrics({"loss": 1.0 / (step + 1)}, step)
    first.finalize("success")
    again = RunLogger(tmp_path, keep=True)
    again.log_metrics({"loss": 0.25, "top1": 0.5}, 2)
    again.finalize("success")
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["loss"], row["top1"]) for row in rows] == [
        ("0", "1", ""),
        ("1", "0.5", ""),
        ("2", "0.25", "0.5"),
    ]
    fresh = RunLogger(tmp_path)
    fresh.log_metrics({"loss": 3.0}, 5)
    fresh.finalize("success")
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 2


def test_models_table(capsys) -> None:
    assert main(["models", "--alpha", "0"]) == 0
    shown = capsys.readouterr().out
    for text in ("i3d_r50", "slowfast_r50", "8x8 @ 224", "28.04 M", "28.4"):
        assert text in shown


def test_help_names_every_command(capsys) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("fit", "validate", "test", "predict", "models"):
        assert f"\n  {command} " in shown
