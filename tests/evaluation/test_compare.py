"""Differences of runs against a bootstrap that draws videos one by one."""

import json

import numpy as np
import pytest

from octvideo.cli import main
from octvideo.evaluation.compare import difference, read_run
from octvideo.evaluation.results import write_results
from octvideo.evaluation.scores import VideoScores


def write_run(folder, seed: int, videos: range = range(200)):
    rng = np.random.default_rng(seed)
    labels = np.array([video % 4 for video in videos])
    probabilities = rng.dirichlet(np.ones(4), len(labels))
    probabilities[np.arange(len(labels)), labels] += 0.1 * seed
    scores = VideoScores(np.arange(len(labels)), labels, probabilities, [], 30)
    paths = [f"/videos/{video}.mp4" for video in videos]
    extra = {"name": "i3d_r50", "alpha": seed / 10, "gflops": 28.4}
    write_results(folder, scores, paths=paths, class_names=None, extra=extra)
    return probabilities.argmax(axis=1) == labels


def test_difference_equals_a_plain_bootstrap(tmp_path) -> None:
    first, second = write_run(tmp_path / "a", 1), write_run(tmp_path / "b", 3)
    found = difference(read_run(tmp_path / "b"), read_run(tmp_path / "a"))
    assert found.value == pytest.approx(second.mean() - first.mean())
    assert found.num_videos == 200
    rng = np.random.default_rng(9)
    draws = [rng.integers(0, 200, 200) for _ in range(4000)]
    means = [second[draw].mean() - first[draw].mean() for draw in draws]
    assert found.low == pytest.approx(np.quantile(means, 0.025), abs=0.012)
    assert found.high == pytest.approx(np.quantile(means, 0.975), abs=0.012)
    assert found.low < found.value < found.high


def test_only_common_videos_are_compared(tmp_path) -> None:
    write_run(tmp_path / "a", 1)
    second = write_run(tmp_path / "b", 3, range(150, 250))
    write_run(tmp_path / "c", 3, range(300, 310))
    runs = {name: read_run(tmp_path / name) for name in "abc"}
    found = difference(runs["b"], runs["a"])
    assert found.num_videos == 50
    first = [runs["a"].correct[f"/videos/{video}.mp4"] for video in range(150, 200)]
    assert found.value == pytest.approx(second[:50].mean() - np.mean(first))
    assert difference(runs["c"], runs["a"]) is None


def test_command(tmp_path, capsys) -> None:
    write_run(tmp_path / "a", 1)
    write_run(tmp_path / "b", 3)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    shown = capsys.readouterr().out
    metrics = json.loads((tmp_path / "b" / "metrics.json").read_text())
    assert f"{metrics['top1']:.2%}" in shown
    assert "200/200" in shown
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "nothing")]) == 2
    assert f"{tmp_path / 'nothing'} holds no test results" in capsys.readouterr().err
    assert main(["compare"]) == 2
