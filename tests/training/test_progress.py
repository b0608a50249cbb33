"""What a log file and a scheduler see of a training."""

import csv
import re
from pathlib import Path

import pytest

from octvideo.cli import main
from octvideo.training.progress import Bar
from tests.cli_videos import shrink, write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, make_video) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), make_video)


def fit(dataset: Path, run: Path, *more: str) -> None:
    replaced = ("--trainer.enable_progress_bar", "--trainer.log_every_n_steps", "--trainer.limit_train")
    options = [option for option in shrink(dataset, run) if not option.startswith(replaced)]
    tiny = ["--model.name=i3d_tiny", "--data.num_frames=4", "--data.frame_stride=2", "--trainer.max_epochs=2"]
    assert main(["fit", *options, *tiny, *more]) == 0


def test_without_a_terminal_lines_tell(dataset: Path, tmp_path: Path, capsys) -> None:
    """A bar in a file was one line of thousands of characters, and the last of two epochs was 1/1."""
    fit(dataset, tmp_path)
    shown = capsys.readouterr().out
    assert re.search(r"^Epoch 1/2, step 1/2: .*train/loss", shown, re.MULTILINE)
    assert re.search(r"^Epoch 2/2 done in \d+ s: .*val/top1", shown, re.MULTILINE)
    assert "\r" not in shown
    with (tmp_path / "metrics.csv").open() as file:  # two steps an epoch: every one, not every 50th
        assert [row["step"] for row in csv.DictReader(file) if row["train/loss"]] == ["0", "1", "2", "3"]


def test_quiet_says_the_result_alone(dataset: Path, tmp_path: Path, capsys) -> None:
    fit(dataset, tmp_path, "--quiet")
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 1
    assert "checkpoints/last.ckpt" in shown[0]


def test_epochs_of_the_bar_end_with_the_last() -> None:
    class Trainer:
        current_epoch, max_epochs = 13, 14

    bar = Bar()
    bar._trainer = Trainer()  # type: ignore[assignment]
    assert bar._get_train_description(13).strip() == "Epoch 14/14"
