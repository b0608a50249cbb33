"""Pictures are drawn from what is there, and nothing is left half written."""

import csv

import numpy as np
import pytest
from PIL import Image

from octvideo.evaluation.plots import _smooth, cluster_order, plot_confusion, plot_curves, read_curves


@pytest.mark.parametrize("num_classes", [1, 8, 60])
def test_confusion_picture(tmp_path, num_classes: int) -> None:
    matrix = np.random.default_rng(0).integers(0, 5, (num_classes, num_classes))
    plot_confusion(matrix, None, tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as image:
        assert min(image.size) > 150
        assert np.unique(np.asarray(image.convert("L"))).size > 4
    assert [file.name for file in tmp_path.iterdir()] == ["confusion.png"]


def test_confused_classes_lie_side_by_side() -> None:
    groups = np.repeat([0, 1, 2], 4)[np.random.default_rng(3).permutation(12)]
    matrix = (groups[:, None] == groups[None, :]) * 5
    placed = groups[cluster_order(matrix)]
    assert sorted(cluster_order(matrix).tolist()) == list(range(12))
    assert np.count_nonzero(np.diff(placed)) == 2  # three blocks


def test_curves(tmp_path) -> None:
    with (tmp_path / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "train/loss", "val/top1"])
        writer.writerows([[0, 0, 2.0, ""], [0, 1, 1.5, ""], [0, 1, "", 0.25]])
    curves = read_curves(tmp_path / "metrics.csv")
    assert set(curves) == {"train/loss", "val/top1"}
    np.testing.assert_array_equal(curves["train/loss"], [[0, 1], [2.0, 1.5]])
    assert plot_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size[0] > 300


def test_nothing_to_draw(tmp_path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step\n0,1\n")
    assert not plot_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_smoothing_is_a_mean_over_a_window_cut_at_the_ends() -> None:
    values = np.random.default_rng(0).normal(size=9)
    expected = [np.mean(values[max(0, i - 2) : i + 3]) for i in range(9)]
    np.testing.assert_allclose(_smooth(values, 5), expected)
