"""A checkpoint of several alphas on the command line: one of them, one that a budget allows, or two as a cascade."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from octvideo import predict
from octvideo.classifier import load_classifier
from octvideo.cli import main
from octvideo.cli.adapting import dense_network
from octvideo.evaluation.partial import PartialScores
from tests.cli_videos import NUM_VIDEOS, shrink, write_dataset

NOTHING = dict.fromkeys(("name", "num_classes", "num_frames", "frame_stride", "fps"))
TINY = ["--model.name=i3d_tiny", "--data.num_frames=4", "--data.frame_stride=2"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, make_video) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dataset"), make_video)


@pytest.fixture(scope="module")
def run(tmp_path_factory, dataset) -> Path:
    """A training of one step, of a configuration whose alpha is neither the least nor the largest."""
    folder = tmp_path_factory.mktemp("run")
    options = [*shrink(dataset, folder), *TINY, "--model.alpha=.25", "--model.alphas=[0, .25, .5]"]
    assert main(["fit", *options]) == 0
    file = folder / "checkpoints" / "last.ckpt"
    content = torch.load(file, weights_only=True)
    for name, value in content["state_dict"].items():
        if name.endswith("proj.weight"):
            value.normal_(std=0.5)  # so that probabilities differ
    torch.save(content, file)
    return folder


@pytest.fixture(scope="module")
def test_at(run, dataset):
    """A function that tests the checkpoint with options; returns metrics.json and scores.npz."""

    def test(folder: Path, *options: str) -> tuple[dict, dict]:
        given = [f"--data.test_csv={dataset / 'all.csv'}", f"--trainer.default_root_dir={folder}"]
        given += ["--data.num_workers=0", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
        assert main(["test", str(run / "checkpoints" / "last.ckpt"), *given, *options]) == 0
        scores = dict(np.load(folder / "scores.npz"))
        return json.loads((folder / "metrics.json").read_text()), scores

    return test


def error_line(capsys, *args: str) -> str:
    assert main(list(args)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_any_trained_alpha_is_scored_with_its_own_statistics(test_at, run, tmp_path) -> None:
    found = {alpha: test_at(tmp_path / alpha, f"--model.alpha={alpha}") for alpha in ("0", ".25", ".5")}
    assert [metrics["alpha"] for metrics, _ in found.values()] == [0, 0.25, 0.5]
    assert test_at(tmp_path / "own")[0]["alpha"] == 0.25
    # Statistics of another alpha give other scores.
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    del content["norms_by_alpha"]
    torch.save(content, tmp_path / "without.ckpt")
    classifier = load_classifier(tmp_path / "without.ckpt", alpha=0.5)
    with torch.inference_mode():
        clip = torch.randn(1, 3, 4, 32, 32)
        own = load_classifier(run / "checkpoints" / "last.ckpt", alpha=0.5)(clip)
        assert not torch.allclose(classifier(clip), own)


def test_a_cascade_decides_as_its_two_score_files_say(test_at, run, dataset, tmp_path, capsys) -> None:
    first = test_at(tmp_path / "first", "--model.alpha=.5")[1]["probabilities"]
    dense, of_dense = (test_at(tmp_path / "dense", "--model.alpha=0")[i] for i in (1, 0))
    confident = first.max(axis=1)
    confidence = float(np.sort(confident)[:2].mean())  # one of four is below
    capsys.readouterr()
    metrics, scores = test_at(tmp_path / "cascade", f"--cascade={confidence}")
    below = confident < confidence
    np.testing.assert_array_equal(
        scores["probabilities"], np.where(below[:, None], dense["probabilities"], first)
    )
    np.testing.assert_array_equal(scores["again"], np.flatnonzero(below))
    assert metrics["cascade"] == {
        "confidence": confidence,
        "first_alpha": 0.5,
        "scored_again": 1,
        "share_again": 0.25,
    }
    assert metrics["gflops"] > of_dense["gflops"]  # all at alpha .5, some of them dense too
    assert "1 of 4 (25.0%) were below" in capsys.readouterr().out
    assert "1 of 4" in (tmp_path / "cascade" / "report.html").read_text()

    # From Python, and as a prediction, the same.
    classifier = load_classifier(run / "checkpoints" / "last.ckpt", cascade=confidence)
    found = predict(str(dataset / "all.csv"), classifier, device="cpu", num_workers=0, window_s=None)
    python = [[of["left"], of["right"]] for of in found.values()]
    np.testing.assert_array_equal(np.float32(python), scores["probabilities"])
    words = ["predict", str(run / "checkpoints" / "last.ckpt"), str(dataset / "all.csv")]
    words += [f"--cascade={confidence}", f"--trainer.default_root_dir={tmp_path / 'p'}"]
    assert main([*words, "--data.num_workers=0", "--trainer.accelerator=cpu"]) == 0
    assert "1 of 4 (25.0%) were below" in capsys.readouterr().out


def test_an_interrupted_cascade_counts_what_was_scored_before(test_at, tmp_path, monkeypatch) -> None:
    whole, scores = test_at(tmp_path / "whole", "--cascade=.99")
    assert whole["cascade"]["scored_again"] == NUM_VIDEOS
    append = PartialScores.append

    def two_and_no_more(self, video, *args) -> None:
        if video == 2:
            raise KeyboardInterrupt
        append(self, video, *args)

    monkeypatch.setattr(PartialScores, "append", two_and_no_more)
    with pytest.raises((AssertionError, SystemExit)):
        test_at(tmp_path / "killed", "--cascade=.99")
    monkeypatch.undo()
    assert list((tmp_path / "killed").glob("partial-*.bin"))
    metrics, again = test_at(tmp_path / "killed", "--cascade=.99")
    assert metrics["cascade"] == whole["cascade"]
    np.testing.assert_array_equal(again["probabilities"], scores["probabilities"])


def test_a_budget_takes_the_least_alpha_that_keeps_to_it(test_at, tmp_path, monkeypatch, capsys) -> None:
    taken = {0.0: 30.0, 0.25: 20.0, 0.5: 10.0}
    monkeypatch.setattr("octvideo.cli.alphas.clip_milliseconds", lambda networks, shape, **_: taken)
    assert test_at(tmp_path / "25", "--budget_ms=25")[0]["alpha"] == 0.25
    assert "alpha 0 takes 30 ms, alpha 0.25 takes 20 ms, alpha 0.5 takes 10 ms" in capsys.readouterr().out
    assert test_at(tmp_path / "30", "--budget_ms=30")[0]["alpha"] == 0.0
    monkeypatch.undo()
    assert test_at(tmp_path / "any", "--budget_ms=1e6")[0]["alpha"] == 0.0  # as it is measured here


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["--model.alpha=.3"],
            "alpha is 0.3, allowed are those that it was trained at and has norm statistics of: 0, ",
        ),
        (["--cascade=1"], "--cascade is 1.0, allowed is a number, above 0 and to 0.9999, or none"),
        (["--cascade=0"], "--cascade is 0.0, allowed is a number, above 0"),
        (["--budget_ms=0"], "--budget_ms is 0.0, allowed is a number, above 0, or none"),
        (
            ["--budget_ms=1e-6"],
            "--budget_ms is 1e-06, allowed is what a clip takes on this machine: alpha 0 takes ",
        ),
        (["--budget_ms=9", "--cascade=.5"], "--budget_ms is 9 with --cascade 0.5, allowed is one of them"),
        (["--budget_ms=9", "--trainer.devices=2"], "--budget_ms needs trainer.devices 1, it is 2"),
    ],
)
def test_what_cannot_be_is_one_line(run, dataset, tmp_path, capsys, options, line) -> None:
    words = ["test", str(run / "checkpoints" / "last.ckpt"), f"--data.test_csv={dataset / 'all.csv'}"]
    assert line in error_line(capsys, *words, f"--trainer.default_root_dir={tmp_path}", *options)


def test_a_checkpoint_of_one_alpha_is_no_cascade(run, dataset, tmp_path, capsys) -> None:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    del content["norms_by_alpha"]
    torch.save(content, tmp_path / "one.ckpt")
    for option in ("--cascade=.5", "--budget_ms=100"):
        words = ["test", str(tmp_path / "one.ckpt"), f"--data.test_csv={dataset / 'all.csv'}", option]
        line = error_line(capsys, *words, f"--trainer.default_root_dir={tmp_path}")
        assert (
            f"{tmp_path / 'one.ckpt'}: of one alpha, budget_ms and cascade need a checkpoint of several"
            in line
        )


def test_bad_alphas_of_a_training_are_one_line(dataset, tmp_path, capsys) -> None:
    options = [*shrink(dataset, tmp_path), *TINY]
    for alphas in ("[0]", "[.5, 0]", "[0, 0]", "[0, 1]"):
        line = error_line(capsys, "fit", *options, f"--model.alphas={alphas}")
        assert "allowed: two or more numbers from 0 to below 1, increasing, or none" in line
    line = error_line(capsys, "fit", *options, "--model.alphas=[0, .5]", "--model.alpha=.25")
    assert "alpha is 0.25, allowed: one of alphas: 0, 0.5" in line


def test_export_takes_any_trained_alpha(run, tmp_path, capsys) -> None:
    file = str(run / "checkpoints" / "last.ckpt")
    assert main(["export", file, str(tmp_path / "o.pt2"), "--model.alpha=.5"]) == 0
    assert "alpha 0.5" in capsys.readouterr().out
    assert "alpha is 0.3, allowed" in error_line(
        capsys, "export", file, str(tmp_path / "b.pt2"), "--model.alpha=.3"
    )


def test_adapt_starts_from_its_dense_one(run) -> None:
    file = run / "checkpoints" / "last.ckpt"
    network, card = dense_network(
        argparse.Namespace(weights=str(file), crop=None, channel_multiple=1, **NOTHING)
    )
    assert card.alpha == 0
    content = torch.load(file, weights_only=True)
    norms = content["norms_by_alpha"][0.0]
    state = network.state_dict()
    assert all(torch.equal(state[name.removeprefix("network.")], value) for name, value in norms.items())
