"""Checkpoints that lie about their training: one line that names the file, and nothing of anybody's removed."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from octvideo.errors import InputError
from octvideo.training.checkpoint import RunCheckpoint
from tests.training.runs import small_data, small_model, small_trainer, write_videos


@pytest.fixture(scope="module")
def csv(tmp_path_factory, make_video) -> Path:
    return write_videos(tmp_path_factory.mktemp("videos"), make_video)


@pytest.fixture(scope="module")
def content(csv: Path, tmp_path_factory) -> dict[str, Any]:
    """What a training has written in the middle of its second epoch."""
    folder = tmp_path_factory.mktemp("run")
    trainer = small_trainer(folder, [RunCheckpoint(every_n_steps=1, keep_newest=9)])
    trainer.fit(small_model(), datamodule=small_data(csv))
    return torch.load(folder / "checkpoints" / "step-00000006.ckpt", weights_only=True)


def go_on(folder: Path, csv: Path, content: dict[str, Any], **settings: Any) -> Path:
    """Trains on from a checkpoint of this content, in the folder."""
    file = folder / "checkpoints" / "last.ckpt"
    file.parent.mkdir(exist_ok=True)
    torch.save(content, file)
    trainer = small_trainer(folder, [RunCheckpoint()], **{"max_epochs": 3, **settings})
    trainer.fit(small_model(), datamodule=small_data(csv), ckpt_path=file, weights_only=True)
    return file


def put(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


BATCHES, EPOCHS = ("loops", "fit_loop", "epoch_loop.batch_progress"), ("loops", "fit_loop", "epoch_progress")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("loops", value=["fit_loop"]), "in its training, fit_loop is None, allowed is a dictionary"),
        (put(*BATCHES, value=3), "fit_loop.epoch_loop.batch_progress is 3, allowed is a dictionary"),
        (
            put(*BATCHES, "current", "ready", value="many"),
            "batch_progress.current.ready is 'many', allowed is a wh",
        ),
        (put(*BATCHES, "current", "ready", value=2**70), "allowed is a whole number, 0 to 9007199254740992"),
        (put(*BATCHES, "is_last_batch", value="no"), "is_last_batch is 'no', allowed is true or false"),
        (
            put(*EPOCHS, "total", "completed", value=-1),
            "epoch_progress.total.completed is -1, allowed is a whole",
        ),
        (put("callbacks", value=1), "callbacks is 1, allowed is a dictionary"),
        (
            put("callbacks", "RunCheckpoint", "best_model_score", value="best"),
            "is 'best', allowed is a number",
        ),
        (put("loops", value={}), "holds weights and no training that could go on"),
        (put("optimizer_states", value=[]), "a new one starts from them with --model.checkpoint"),
    ],
)
def test_a_training_that_lies(csv: Path, content: dict[str, Any], tmp_path: Path, change, said: str) -> None:
    doctored = copy.deepcopy(content)
    change(doctored)
    with pytest.raises(InputError) as caught:
        go_on(tmp_path, csv, doctored)
    assert str(caught.value).startswith(str(tmp_path / "checkpoints" / "last.ckpt"))
    assert said in str(caught.value)


@pytest.mark.parametrize("seen", ["many", -1, 1.5])
def test_batches_that_nobody_has_seen(csv: Path, content: dict[str, Any], tmp_path: Path, seen: Any) -> None:
    doctored = copy.deepcopy(content)
    doctored["KineticsDataModule"]["batches"] = seen
    with pytest.raises(InputError, match=r"in the checkpoint, batches is .*, allowed is a whole number"):
        go_on(tmp_path, csv, doctored)


def test_what_is_not_known_of_loops_is_left_out(csv: Path, content: dict[str, Any], tmp_path: Path) -> None:
    """Lightning would make it an attribute, in a method's place."""
    doctored = copy.deepcopy(content)
    put(*BATCHES, "current", "reset", value=1)(doctored)
    put(*BATCHES, "increment_ready", value=1)(doctored)
    file = go_on(tmp_path, csv, doctored)
    assert torch.load(file, weights_only=True)["global_step"] == 12


def test_no_file_is_removed_that_a_checkpoint_names(
    csv: Path, content: dict[str, Any], tmp_path: Path
) -> None:
    """A better checkpoint took the place of the best one, whose name was believed: `checkpoints/../../mine`."""
    mine = tmp_path / "mine" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("all of it")
    run = tmp_path / "run"
    folder = run / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "best.ckpt").write_bytes(b"the best so far")
    name = f"{folder}/../../mine"
    lie = {"kth_best_model_path": name, "best_model_path": name, "best_k_models": {name: torch.tensor(0.0)}}
    lie |= {"dirpath": str(folder), "best_model_score": torch.tensor(-1.0), "kth_value": torch.tensor(-1.0)}
    doctored = copy.deepcopy(content)
    doctored["callbacks"]["RunCheckpoint"] |= lie
    go_on(run, csv, doctored)
    assert mine.read_text() == "all of it"
    assert torch.load(folder / "best.ckpt", weights_only=True)["global_step"] > 6


@pytest.mark.parametrize("moved", [False, True])
def test_the_best_stays_the_best_after_going_on(
    csv: Path, content: dict[str, Any], tmp_path: Path, moved: bool
) -> None:
    """In a run folder that was moved, too, where the first validation took its place."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "best.ckpt").write_bytes(b"the best so far")
    known = copy.deepcopy(content)
    known["callbacks"]["RunCheckpoint"] |= {
        "dirpath": "/elsewhere/checkpoints" if moved else str(folder),
        "best_model_score": torch.tensor(2.0),
    }
    go_on(tmp_path, csv, known)
    assert (folder / "best.ckpt").read_bytes() == b"the best so far"
