"""The command in processes of its own: two at once, killed, interrupted."""

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from octvideo.cli import main
from tests.cli_videos import shrink, write_dataset

pytestmark = pytest.mark.slow

TINY = ("--model.name=i3d_tiny", "--data.num_frames=4", "--data.frame_stride=2", "--model.alpha=0.25")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}  # sums in one order


_started: list[subprocess.Popen] = []


def octvideo(*arguments: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "octvideo", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, env=ENVIRONMENT, process_group=0, **pipes, **options)
    _started.append(process)
    return process


@pytest.fixture(autouse=True)
def nothing_goes_on_running() -> Iterator[None]:
    """A test that fails would leave a training of 100,000 epochs behind, with its workers and ranks."""
    yield
    while _started:
        process = _started.pop()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # all that it has started
        process.wait()
        process.stdout.close()


def _hears_ctrl_c() -> None:
    """A shell's background job ignores that signal, one under nohup a closed terminal, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _no_room() -> None:
    """Files may not grow past 8,000 bytes, which programs meet as they meet a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, resource.RLIM_INFINITY))


def finished(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, make_video) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("data"), make_video)
    make_video(folder / "video_4.mp4", num_frames=30, size=(48, 64), fps=15)
    with (folder / "all.csv").open("a") as file:
        file.write("video_4.mp4 0\n")  # five: an odd number for two processes
    return folder


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    assert main(["fit", *shrink(dataset, folder), *TINY]) == 0
    return folder


def test_two_processes_give_the_numbers_of_one(run: Path, dataset: Path, tmp_path) -> None:
    (dataset / "broken.mp4").write_text("no video at all")
    (tmp_path / "list.csv").write_text((dataset / "all.csv").read_text() + "broken.mp4 1\n")
    folders = []
    for devices, batch in ((1, 1), (2, 2)):
        folder = tmp_path / f"{devices}-{batch}"
        options = [*shrink(dataset, folder), *TINY, f"--trainer.devices={devices}"]
        options += [f"--data.test_csv={tmp_path / 'list.csv'}", f"--data.root={dataset}"]
        options += [f"--data.eval_batch_size={batch}"]
        options += ["--trainer.strategy=ddp"] if devices == 2 else []
        output = finished(octvideo("test", str(run / "checkpoints" / "last.ckpt"), *options))
        assert output.count("top-1") == 1  # one process speaks
        folders.append(folder)
    found = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    scores = [np.load(folder / "scores.npz") for folder in folders]
    for key in ("top1", "top5", "mean_class_accuracy", "calibration_error", "videos_scored", "unreadable"):
        assert found[1][key] == found[0][key], key  # to the last digit
    for key in ("videos", "labels", "probabilities"):
        np.testing.assert_array_equal(scores[1][key], scores[0][key])
    assert (found[1]["videos_listed"], found[1]["videos_scored"]) == (6, 5)
    assert (folders[1] / "predictions.csv").read_text() == (folders[0] / "predictions.csv").read_text()


def test_predict_on_two_processes_names_every_video(run: Path, dataset: Path, tmp_path) -> None:
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    options = [
        "--trainer.accelerator=cpu",
        "--trainer.devices=2",
        "--trainer.strategy=ddp",
        "--data.num_workers=0",
    ]
    options += [f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false"]
    output = finished(octvideo("predict", checkpoint, str(dataset / "all.csv"), *options))
    content = json.loads((tmp_path / "predictions" / "1" / "predict.json").read_text())
    assert [Path(row["path"]).name for row in content] == [f"video_{i}.mp4" for i in range(5)]
    for row in content:
        assert output.count(row["path"]) == 1


@pytest.fixture(scope="module")
def many(dataset: Path, tmp_path_factory) -> list[str]:
    """Options of a test that takes a while: a few files under many names, with many views."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(60):
        (folder / f"{i}.mp4").hardlink_to(dataset / f"video_{i % 5}.mp4")
    (folder / "list.csv").write_text("".join(f"{i}.mp4 {i % 2}\n" for i in range(60)))
    return [*TINY, f"--data.test_csv={folder / 'list.csv'}", f"--data.root={folder}", "--data.num_clips=8"]


@pytest.fixture(scope="module")
def whole_scores(run: Path, dataset: Path, many: list[str], tmp_path_factory) -> np.ndarray:
    """Of that test where nothing stops it."""
    folder = tmp_path_factory.mktemp("whole")
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    finished(octvideo("test", checkpoint, *shrink(dataset, folder), *many))
    return np.load(folder / "scores.npz")["probabilities"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_test_goes_on_from_what_it_scored(
    run: Path, dataset: Path, many: list[str], whole_scores: np.ndarray, tmp_path, how
) -> None:
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    folder = tmp_path / "killed"
    process = octvideo("test", checkpoint, *shrink(dataset, folder), *many, preexec_fn=_hears_ctrl_c)
    deadline = time.monotonic() + 200
    while not any(file.stat().st_size > 500 for file in folder.glob("partial-*.bin")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(how)
    output, _ = process.communicate()
    if how == signal.SIGINT:
        assert process.returncode == 130, output
        assert "octvideo: interrupted" in output
        assert "Traceback" not in output
    assert not (folder / "metrics.json").exists()

    output = finished(octvideo("test", checkpoint, *shrink(dataset, folder), *many))
    assert "of 60 videos were scored before" in output
    assert not list(folder.glob("partial-*"))
    np.testing.assert_array_equal(np.load(folder / "scores.npz")["probabilities"], whole_scores)


def test_a_full_disk_loses_no_score(run: Path, dataset: Path, tmp_path) -> None:
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    command = ["test", checkpoint, *shrink(dataset, tmp_path), *TINY]
    finished(octvideo(*command))
    kept = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    base = ["--data.num_clips=3"]  # another test in the same folder
    process = octvideo(*command, *base, preexec_fn=_no_room)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 2, output
    assert f"octvideo: error: File too large: {tmp_path}" in output
    assert "Traceback" not in output
    for name in ("report.html", "confusion.png"):
        assert (tmp_path / name).read_bytes() == kept[name]  # the old one, whole
    assert not [file for file in tmp_path.iterdir() if ".tmp" in file.name]
    output = finished(octvideo(*command, *base))
    assert "continuing: 5 of 5 videos were scored before" in output
    assert json.loads((tmp_path / "metrics.json").read_text())["num_views"] == 3


def start_training(options: list[str], last: Path, prepare=_hears_ctrl_c) -> subprocess.Popen:
    """A training that has written its first checkpoint and goes on."""
    process = octvideo("fit", *options, preexec_fn=prepare)
    deadline = time.monotonic() + 200
    while not last.is_file():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


def losses(run: Path) -> dict[str, str]:
    with (run / "metrics.csv").open(newline="") as file:
        return {row["step"]: row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]}


LONG = ("--trainer.limit_train_batches=1.0", "--data.batch_size=1", "--checkpoint.every_n_steps=1")


def test_killed_at_any_step_resumes_to_the_same_weights(dataset: Path, tmp_path) -> None:
    def options(folder: Path) -> list[str]:
        return [*shrink(dataset, folder), *TINY, *LONG, "--trainer.max_epochs=6", "--ckpt_path=last"]

    finished(octvideo("fit", *options(tmp_path / "whole")))
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    process = start_training(options(tmp_path / "killed"), last)
    time.sleep(0.3)
    process.kill()  # SIGKILL
    process.communicate()
    content = torch.load(last, weights_only=True)  # whole
    assert 0 < content["global_step"] < 30
    finished(octvideo("fit", *options(tmp_path / "killed")))
    ends = [
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)
        for run in ("whole", "killed")
    ]
    assert ends[0]["global_step"] == ends[1]["global_step"] == 30
    for name, value in ends[0]["state_dict"].items():
        torch.testing.assert_close(ends[1]["state_dict"][name], value, rtol=0, atol=0, msg=name)
    whole, killed = losses(tmp_path / "whole"), losses(tmp_path / "killed")
    after = [step for step in whole if int(step) >= content["global_step"]]
    assert after
    assert [killed[step] for step in after] == [whole[step] for step in after]


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted({int(child) for task in tasks for child in task.read_text().split()})


def test_a_killed_worker_ends_the_training_with_one_line(dataset: Path, tmp_path) -> None:
    options = [
        *shrink(dataset, tmp_path),
        *TINY,
        *LONG,
        "--trainer.max_epochs=100000",
        "--data.num_workers=1",
    ]
    options.remove("--data.num_workers=0")
    process = start_training(options, tmp_path / "checkpoints" / "last.ckpt")
    workers = children(process.pid)
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    found = re.findall(
        r"^octvideo: error: (?:worker process (\d+) was ended by a signal \(Killed\)|a worker process has ended)",
        output,
        re.MULTILINE,
    )
    assert len(found) == 1, output
    assert not found[0] or int(found[0]) in workers  # its number, unless its end was noticed by its silence


def test_a_killed_rank_ends_the_run_with_one_line_that_says_which(dataset: Path, tmp_path) -> None:
    options = [*shrink(dataset, tmp_path), *TINY, *LONG, "--trainer.max_epochs=100000"]
    for one, two in (("--trainer.devices=1", "--trainer.devices=2"), ("strategy=auto", "strategy=ddp")):
        options = [option.replace(one, two) for option in options]
    process = start_training(options, tmp_path / "checkpoints" / "last.ckpt")
    (rank1,) = children(process.pid)
    os.kill(rank1, signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    # Where rank 0 was not waiting for the other, Lightning has noticed first, and says so.
    assert process.returncode in (1, -signal.SIGKILL), output
    assert "Traceback" not in output
    assert (f"octvideo: error: the process of rank 1 ({rank1}) was ended by SIGKILL" in output) or (
        f"Child process with PID {rank1} terminated with code -9" in output
    ), output


def test_a_killed_first_rank_leaves_no_trace_and_no_process(dataset: Path, tmp_path) -> None:
    options = [*shrink(dataset, tmp_path), *TINY, *LONG, "--trainer.max_epochs=100000"]
    for one, two in (("--trainer.devices=1", "--trainer.devices=2"), ("strategy=auto", "strategy=ddp")):
        options = [option.replace(one, two) for option in options]
    process = start_training(options, tmp_path / "checkpoints" / "last.ckpt")
    process.kill()
    output, _ = process.communicate(timeout=200)  # until the other rank has closed it too
    assert "Traceback" not in output
    assert f"octvideo: error: rank 1 stops, since the process of rank 0 ({process.pid}) has died" in output


@pytest.mark.parametrize("name", ["SIGINT", "SIGUSR1", "SIGHUP"])
def test_a_signal_stops_after_a_step_and_keeps_it(dataset: Path, tmp_path, name: str) -> None:
    options = [*shrink(dataset, tmp_path), *TINY, *LONG, "--trainer.max_epochs=100000"]
    options[options.index("--checkpoint.every_n_steps=1")] = "--checkpoint.every_n_steps=2"
    last = tmp_path / "checkpoints" / "last.ckpt"
    process = start_training(options, last)
    process.send_signal(getattr(signal, name))
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 128 + getattr(signal, name), output
    assert "Traceback" not in output
    step = torch.load(last, weights_only=True)["global_step"]
    assert f"octvideo: stopped by {name} after step {step}; --ckpt_path last goes on from there" in output


def test_nohup_is_heard(dataset: Path, tmp_path) -> None:
    """`nohup octvideo fit` outlives its terminal, and stops for a scheduler."""
    options = [*shrink(dataset, tmp_path), *TINY, *LONG, "--trainer.max_epochs=100000"]
    last = tmp_path / "checkpoints" / "last.ckpt"
    process = start_training(options, last, lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    before = last.stat().st_mtime_ns
    deadline = time.monotonic() + 100
    while last.stat().st_mtime_ns == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGTERM, output
    step = torch.load(last, weights_only=True)["global_step"]
    assert f"octvideo: stopped by SIGTERM after step {step}; --ckpt_path last goes on from there" in output


def test_disk_full_leaves_the_checkpoint_before(dataset: Path, tmp_path) -> None:
    options = [*shrink(dataset, tmp_path), *TINY, *LONG, "--ckpt_path=last"]
    finished(octvideo("fit", *options))
    last = tmp_path / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    limit = len(before) // 2
    process = octvideo(
        "fit",
        *options,
        "--trainer.max_epochs=2",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 2, output
    assert f"octvideo: error: {last}: File too large, the checkpoint of" in output
    assert "the previous one is whole" in output
    assert "Traceback" not in output
    assert last.read_bytes() == before
    assert sorted(file.name for file in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_help_answers_quickly() -> None:
    output = finished(octvideo("--help"))
    assert "usage: octvideo COMMAND" in output
