"""Curves while they come, and pictures of a test's scores."""

import itertools

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from matplotlib.figure import Figure
from torch import nn

from octvideo import viz
from octvideo.evaluation.scores import VideoScores


class Line(LightningModule):
    """Logs the step as its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.log("train/loss", float(self.global_step))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_live_curves_draw_what_a_trainer_logs(tmp_path) -> None:
    figures: list[Figure] = []
    live = viz.LiveCurves(every_seconds=0, show=figures.append)
    trainer = Trainer(
        max_steps=4,
        logger=live,
        log_every_n_steps=1,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Line(), torch.utils.data.DataLoader(torch.zeros(4)))
    steps, values = live.curves["train/loss"]
    assert steps.tolist() == values.tolist() == [0, 1, 2, 3]
    assert len(figures) >= 4
    axes = figures[-1].axes[0]
    assert (axes.get_title(), axes.get_xlabel()) == ("loss", "step")
    assert axes.lines[0].get_ydata().tolist() == [0, 1, 2, 3]


def test_live_curves_wait_between_drawings() -> None:
    figures: list[Figure] = []
    live = viz.LiveCurves(every_seconds=1000, show=figures.append)
    live.log_metrics({"train/loss": 2.0}, step=0)
    assert not figures
    live.finalize("success")
    assert len(figures) == 1


def scores(predicted: list[int], labels: list[int]) -> VideoScores:
    probabilities = np.full((len(labels), 3), 0.1)
    probabilities[np.arange(len(labels)), predicted] = 0.8
    return VideoScores(np.arange(len(labels)), np.array(labels), probabilities)


def test_class_accuracy_is_sorted_by_the_first_test() -> None:
    tests = {
        "dense": scores([0, 0, 1, 2, 0], [0, 0, 1, 1, 2]),  # 100, 50, 0 %
        "octave": scores([0, 1, 1, 1, 2], [0, 0, 1, 1, 2]),  # 50, 100, 100 %
    }
    figure = viz.plot_class_accuracy(tests, ["a", "b", "c"])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "b", "a"]
    assert [bar.get_width() for bar in axes.containers[0]] == [0, 50, 100]
    assert [bar.get_width() for bar in axes.containers[1]] == [100, 100, 50]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["dense", "octave"]
    with pytest.raises(ValueError, match="tests is empty"):
        viz.plot_class_accuracy({}, ["a"])


def test_confusion_counts_the_videos() -> None:
    figure = viz.plot_confusion(scores([0, 0, 1, 2, 0], [0, 0, 1, 1, 2]), ["a", "b", "c"])
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "label")
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "2", (1, 1): "1", (2, 1): "1", (0, 2): "1"}


def test_choices_are_placed_by_what_they_save_and_named_where_they_are() -> None:
    choices = {"stage 2": (75.0, 0.5), "all": (40.0, 0.25), "nearly all": (40.5, 0.251)}
    axes = viz.plot_choices(choices, dense=(100.0, 0.9)).axes[0]
    points, dense = axes.lines
    assert list(points.get_xdata()) == pytest.approx([25.0, 60.0, 59.5])
    assert list(points.get_ydata()) == pytest.approx([50.0, 25.0, 25.1])
    assert list(dense.get_ydata()) == [90.0, 90.0]
    assert [text.get_text() for text in axes.texts] == list(choices)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not [one for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]
    assert axes.get_xlabel() == "multiply-adds saved, %"
    with pytest.raises(ValueError, match="choices is empty"):
        viz.plot_choices({}, dense=(100.0, 0.9))
