"""What the command promises: nothing of an earlier training is replaced, no score that is no number, exit codes."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from octvideo.cli import main
from octvideo.cli.claim import LOCK, check_unused, claimed
from octvideo.cli.errors import UsageError
from tests.cli_checkpoint import write_checkpoint
from tests.cli_videos import NUM_VIDEOS, shrink, write_dataset

TINY = ("--model.name=i3d_tiny", "--data.num_frames=4", "--data.frame_stride=2", "--seed_everything=1")

RECIPE = {
    "num_frames": 4,
    "frame_stride": 2,
    "short_side": [34, 40],
    "crop": 32,
    "num_clips": 2,
    "num_crops": 1,
}
RECIPE |= {"test_short_side": 34, "test_crop": 32}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, make_video) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), make_video)


def outcome(capsys, *arguments: str) -> tuple[int, str]:
    """Exit code, and the one line on stderr of a command that fails."""
    capsys.readouterr()
    code = main(list(arguments))
    lines = [line for line in capsys.readouterr().err.splitlines() if "Warning" not in line and line.strip()]
    assert len(lines) == 1, lines
    return code, lines[0]


# Run folders


def kept(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but TensorBoard's, with its content."""
    return {
        str(f.relative_to(folder)): f.read_bytes()
        for f in sorted(folder.rglob("*"))
        if f.is_file() and "tensorboard" not in f.parts and f.name != LOCK
    }


def test_a_second_training_in_a_used_folder_replaces_nothing(dataset: Path, tmp_path, capsys) -> None:
    fit = ["fit", *shrink(dataset, tmp_path / "run"), *TINY]
    assert main(fit) == 0
    before = kept(tmp_path / "run")
    assert {"checkpoints/best.ckpt", "checkpoints/last.ckpt", "metrics.csv", "config.yaml"} <= set(before)

    code, line = outcome(capsys, *fit, "--model.alpha=0.5")
    assert code == 2
    assert f"{tmp_path / 'run'} holds a training already (best.ckpt, last.ckpt)" in line
    assert "--ckpt_path last goes on with it" in line
    assert "--trainer.default_root_dir FOLDER" in line
    assert kept(tmp_path / "run") == before

    # Neither from another checkpoint of the folder, which last.ckpt is ahead of, nor from one elsewhere.
    other = tmp_path / "elsewhere" / "checkpoints" / "last.ckpt"
    other.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "run" / "checkpoints" / "last.ckpt", other)
    for file in (tmp_path / "run" / "checkpoints" / "best.ckpt", other):
        code, line = outcome(capsys, *fit, f"--ckpt_path={file}", "--trainer.max_epochs=2")
        assert (code, "holds a training already" in line) == (2, True)
        assert kept(tmp_path / "run") == before

    # A smoke test leaves everything as it is, and a resumed training goes on.
    assert main([*fit, "--trainer.fast_dev_run=true"]) == 0
    assert kept(tmp_path / "run") == before
    assert main([*fit, "--ckpt_path=last", "--trainer.max_epochs=2"]) == 0
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2


def test_what_a_used_folder_is(tmp_path) -> None:
    checkpoints = tmp_path / "checkpoints"
    last, best = checkpoints / "last.ckpt", checkpoints / "best.ckpt"

    def refused(goes_on_from: Path | None = None, asked_for_last: bool = False) -> bool:
        try:
            check_unused(tmp_path, checkpoints, goes_on_from=goes_on_from, asked_for_last=asked_for_last)
        except UsageError:
            return True
        return False

    assert not refused()
    (tmp_path / "config.yaml").touch()  # of a training that has failed at once
    (tmp_path / "metrics.json").touch()  # of a test
    assert not refused()
    (tmp_path / "metrics.csv").touch()
    assert refused()
    assert not refused(
        asked_for_last=True
    )  # a scheduler's standing command; killed before its first checkpoint
    checkpoints.mkdir()
    best.touch()
    assert refused()
    assert refused(asked_for_last=True)
    assert not refused(best)  # the newest that there is
    last.touch()
    assert refused(best)
    assert not refused(last)
    assert refused(tmp_path / "other" / "last.ckpt")


def test_of_two_trainings_at_once_the_second_stops(dataset: Path, tmp_path, capsys) -> None:
    holder = (
        "import sys, time; from pathlib import Path; from octvideo.cli.claim import claimed\n"
        "with claimed(Path(sys.argv[1])):\n    print('held', flush=True)\n"
        "    import os\n    if os.fork() == 0: time.sleep(600)\n    time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        code, line = outcome(capsys, "fit", *shrink(dataset, tmp_path), *TINY)
        assert code == 2
        assert f"another training runs in {tmp_path} (process {process.pid} on " in line
        assert not (tmp_path / "checkpoints").exists()
        process.kill()  # SIGKILL: its forked worker lives on, and keeps no lock
        process.wait()
        with claimed(tmp_path):
            pass
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch) -> None:
    def lockf(*_) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with pytest.warns(UserWarning, match="no locks there .No locks available."), claimed(tmp_path):
        pass


# Scores


def broken_checkpoint(file: Path) -> Path:
    """Weights that give NaN."""
    write_checkpoint(file, **RECIPE)
    content = torch.load(file, weights_only=True)
    next(v for k, v in content["state_dict"].items() if k.endswith("proj.bias"))[0] = float("nan")
    torch.save(content, file)
    return file


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_scores_that_are_no_numbers_are_an_error(command: str, dataset: Path, tmp_path, capsys) -> None:
    file = broken_checkpoint(tmp_path / "nan.ckpt")
    data = {
        "test": f"--data.test_csv={dataset / 'all.csv'}",
        "validate": f"--data.val_csv={dataset / 'all.csv'}",
        "predict": f"--data.predict_paths=[{dataset / 'video_0.mp4'}]",
    }[command]
    options = [f"--trainer.default_root_dir={tmp_path / 'run'}", "--trainer.accelerator=cpu", data]
    options += ["--data.num_workers=0", "--trainer.enable_progress_bar=false", f"--ckpt_path={file}"]
    code, line = outcome(capsys, command, *options)
    assert code == 2
    assert f"error: {dataset / 'video_0.mp4'}: its scores are not finite" in line
    assert not list((tmp_path / "run").glob("*.json"))  # no result


def test_what_was_scored_before_is_kept(dataset: Path, tmp_path, capsys, monkeypatch) -> None:
    from octvideo import VideoClassifier

    file = write_checkpoint(tmp_path / "good.ckpt", **RECIPE)
    options = [f"--trainer.default_root_dir={tmp_path / 'run'}", "--trainer.accelerator=cpu"]
    options += ["--data.num_workers=0", f"--data.test_csv={dataset / 'all.csv'}", f"--ckpt_path={file}"]
    scored = VideoClassifier._look
    calls = []

    def third_is_nan(self, clips):
        calls.append(1)
        probabilities, again = scored(self, clips)
        return probabilities * (float("nan") if len(calls) == 3 else 1), again

    monkeypatch.setattr(VideoClassifier, "_look", third_is_nan)
    code, line = outcome(capsys, "test", *options)
    assert (code, str(dataset / "video_2.mp4") in line) == (2, True)
    assert main(["test", *options]) == 0
    assert f"continuing: 2 of {NUM_VIDEOS} videos were scored before" in capsys.readouterr().out
    assert np.isfinite(np.load(tmp_path / "run" / "scores.npz")["probabilities"]).all()


def test_a_card_of_nan_too(dataset: Path, tmp_path, capsys) -> None:
    video = [str(dataset / "video_0.mp4"), "--data.num_workers=0", "--trainer.accelerator=cpu"]
    file = write_checkpoint(tmp_path / "card.ckpt", **RECIPE, mean=[0.45, float("nan"), 0.45])
    code, line = outcome(capsys, "predict", str(file), *video)
    assert code == 2
    assert "not finite" in line or "mean" in line
    file = write_checkpoint(tmp_path / "zero.ckpt", **RECIPE, std=[0.225, 0.0, 0.225])
    code, line = outcome(capsys, "predict", str(file), *video)
    assert (code, "std" in line) == (2, True)


@pytest.mark.slow
def test_an_exported_network_of_nan(dataset: Path, tmp_path, capsys) -> None:
    file = broken_checkpoint(tmp_path / "nan.ckpt")
    out = tmp_path / "nan.pt2"
    assert main(["export", str(file), str(out)]) == 0
    video = [str(dataset / "video_0.mp4"), "--data.num_workers=0", "--trainer.accelerator=cpu"]
    code, line = outcome(capsys, "predict", "--exported", str(out), *video)
    assert (code, f"{dataset / 'video_0.mp4'}: its scores are not finite" in line) == (2, True)


# Exit codes


@pytest.mark.parametrize("command", ["test", "validate"])
def test_an_evaluation_of_no_readable_video_is_no_success(
    command: str, dataset: Path, tmp_path, capsys
) -> None:
    file = write_checkpoint(tmp_path / "good.ckpt", **RECIPE)
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.json").write_text("of an earlier test")
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_text("no video at all")
    (tmp_path / "list.csv").write_text("one.mp4 0\ntwo.mp4 1\n")
    options = [f"--trainer.default_root_dir={run}", "--trainer.accelerator=cpu", "--data.num_workers=0"]
    options += [f"--data.{command.removesuffix('idate')}_csv={tmp_path / 'list.csv'}", f"--ckpt_path={file}"]
    code, line = outcome(capsys, command, *options)
    assert code == 2
    assert "none of the 2 videos could be read" in line
    assert str(tmp_path / "one.mp4") in line
    assert (run / "metrics.json").read_text() == "of an earlier test"


def test_a_decode_benchmark_of_nothing_is_no_success(tmp_path, capsys) -> None:
    (tmp_path / "bad.mp4").write_text("no video at all")
    code, line = outcome(capsys, "bench", "decode", str(tmp_path / "bad.mp4"), "--rounds=1", "--num_clips=1")
    assert code == 2
    assert f"no decoder could read a clip of {tmp_path / 'bad.mp4'}" in line


def test_help_says_the_exit_codes(capsys) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "exit codes" in shown
    for code in ("0", "1", "2", "130"):
        assert f"\n  {code} " in shown


def test_the_trainer_s_complaints_stay_one_line(dataset: Path, tmp_path, capsys) -> None:
    fit = ["fit", *shrink(dataset, tmp_path), *TINY]
    for option, text in (
        (
            "--trainer.val_check_interval=1000",
            "val_check_interval",
        ),  # met in the training, a plain ValueError
        ("--trainer.limit_val_batches=-2", "limit_val_batches"),
        ("--trainer.num_nodes=0", "num_nodes"),
    ):
        code, line = outcome(capsys, *fit, option)
        assert (code, text in line) == (2, True), line
