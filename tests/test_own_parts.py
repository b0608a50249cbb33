"""A network, a loader and labels of one's own, in VideoClassifier."""

import math

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from octvideo import VideoClassifier
from octvideo.classifier import load_classifier
from octvideo.errors import InputError
from octvideo.layers import OctaveConv3d
from tests.test_classifier import quiet_trainer


class Small(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self, width: int = 8, num_classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, width, 3, stride=(1, 2, 2), padding=1)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.body = nn.Sequential(
            nn.Conv3d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Conv3d(2 * width, 2 * width, 3, padding=1),
        )
        self.last = nn.Conv3d(2 * width, 2 * width, 3, stride=(1, 2, 2), padding=1)
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.body(self.pool(self.stem(x)).relu())).relu()
        return self.fc(x.mean((2, 3, 4)))


def own(**arguments) -> VideoClassifier:
    torch.manual_seed(0)
    network = Small()
    return VideoClassifier(**{"network": network, "num_classes": 3, "lr": 0.01, **arguments})


def clips(count: int = 6, *, views: int | None = None, many: bool = False) -> TensorDataset:
    rng = torch.Generator().manual_seed(1)
    shape = (count, *([views] if views else []), 3, 4, 32, 32)
    numbers = torch.arange(count) % 3
    many_hot = (torch.rand(count, 3, generator=rng) > 0.5).float()
    return TensorDataset(torch.randn(shape, generator=rng), many_hot if many else numbers)


class Counted(LightningDataModule):
    """A data module that counts its classes, beside batches that are pairs."""

    def class_counts(self) -> np.ndarray:
        return np.array([6, 3, 1])

    def train_dataloader(self) -> DataLoader:
        return DataLoader(clips(), batch_size=3)


def test_a_network_and_a_loader_of_ones_own(tmp_path) -> None:
    model = own()
    assert (model.name, model.hparams["name"]) == ("Small", "Small")
    before = model.network.fc.weight.clone()
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, DataLoader(clips(), batch_size=3), DataLoader(clips(), batch_size=4))
    assert not torch.equal(before, model.network.fc.weight)
    trainer.test(model, DataLoader(clips(), batch_size=4), verbose=False)
    x, label = clips()[:]
    with torch.no_grad():
        expected = model.eval()(x).double().softmax(dim=1)
    assert model.test_result.videos.tolist() == list(range(6))
    np.testing.assert_allclose(model.test_result.probabilities, expected, atol=1e-6)
    right = (expected.argmax(dim=1) == label).float().mean()
    assert trainer.callback_metrics["test/top1"] == pytest.approx(float(right))


def test_several_clips_a_video_are_its_views(tmp_path) -> None:
    model = own()
    quiet_trainer(tmp_path).test(model, DataLoader(clips(4, views=3), batch_size=2), verbose=False)
    x, _ = clips(4, views=3)[:]
    with torch.no_grad():
        expected = torch.stack([model(one).double().softmax(dim=1).mean(dim=0) for one in x])
    np.testing.assert_allclose(model.test_result.probabilities, expected, atol=1e-6)
    assert model.test_result.num_views == 3


def test_a_third_part_numbers_the_videos(tmp_path) -> None:
    x, label = clips(4)[:]
    data = TensorDataset(x, label, torch.tensor([7, 5, 5, 2]))
    model = own()
    quiet_trainer(tmp_path).test(model, DataLoader(data, batch_size=2), verbose=False)
    assert model.test_result.videos.tolist() == [2, 5, 7]


def test_its_checkpoint_needs_the_network_again(tmp_path) -> None:
    model = own()
    trainer = quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    trainer.fit(model, DataLoader(clips(), batch_size=3))
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    with pytest.raises(InputError, match="Small"):
        load_classifier(tmp_path / "own.ckpt")
    loaded = load_classifier(tmp_path / "own.ckpt", network=Small())
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.network.parameters(), loaded.network.parameters(), strict=True)
    )


def test_it_becomes_octave() -> None:
    model = own(alpha=0.5)
    octave = [module for module in model.network.modules() if isinstance(module, OctaveConv3d)]
    assert octave
    assert set(model.network.state_dict()) == set(Small().state_dict())
    assert model(torch.randn(2, 3, 4, 32, 32)).shape == (2, 3)


def test_several_classes_a_video(tmp_path) -> None:
    model = own(multi_label=True)
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, DataLoader(clips(many=True), batch_size=3), DataLoader(clips(many=True), batch_size=4))
    x, label = clips(many=True)[:]
    with torch.no_grad():
        logits = model.eval()(x).double().detach()
    scores = 1 / (1 + np.exp(-logits.numpy()))
    assert trainer.callback_metrics["val/mean_average_precision"] == pytest.approx(
        np.mean([average_precision(scores[:, c], label[:, c].numpy()) for c in range(3)]), abs=1e-5
    )
    expected = -np.where(label, np.log(scores), np.log(1 - scores)).mean()
    assert trainer.callback_metrics["val/loss"] == pytest.approx(expected, abs=1e-5)
    trainer.test(model, DataLoader(clips(many=True), batch_size=4), verbose=False)
    np.testing.assert_allclose(model.test_result.probabilities, scores, atol=1e-6)
    assert model.test_result.labels.tolist() == label.tolist()
    assert model.monitor == "val/mean_average_precision"


def average_precision(scores: np.ndarray, wanted: np.ndarray) -> float:
    """The mean over the wanted videos of the share of wanted ones among those that score as high."""
    return float(np.mean([wanted[scores >= scores[i]].mean() for i in np.flatnonzero(wanted)]))


def test_classes_that_count_more(tmp_path) -> None:
    model = own(class_weights=[1.0, 2.0, 0.5])
    x, label = clips(3)[:]
    quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(model, DataLoader(clips(), batch_size=3))
    assert model.loss.weight.tolist() == [1.0, 2.0, 0.5]
    logits = model.eval()(x).double().detach()
    each = [-math.log(float(row.softmax(0)[k])) for row, k in zip(logits, label, strict=True)]
    assert float(model.loss(logits, label)) == pytest.approx(
        (each[0] + 2 * each[1] + 0.5 * each[2]) / 3.5, abs=1e-6
    )


def test_balanced_classes_are_counted_by_the_data(tmp_path) -> None:
    model = own(class_weights="balanced")
    with pytest.raises(InputError, match="class_weights is balanced, which needs a data module that counts"):
        quiet_trainer(tmp_path, max_epochs=1).fit(model, DataLoader(clips(), batch_size=3))
    quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(model, datamodule=Counted())
    assert model.loss.weight.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])


def test_a_network_of_other_classes_is_named(tmp_path) -> None:
    model = own(num_classes=4)
    with pytest.raises(InputError, match=r"num_classes is 4, allowed is what the network gives: .* \(3, 3\)"):
        quiet_trainer(tmp_path, max_epochs=1).fit(model, DataLoader(clips(), batch_size=3))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"class_weights": [1.0, 2.0]},
            "class_weights is .* allowed: balanced, 3 numbers of 0 or more, or none",
        ),
        ({"class_weights": "rare"}, "class_weights is rare"),
        (
            {"multi_label": True, "label_smoothing": 0.1},
            "label_smoothing is 0.1, allowed: 0 with multi_label",
        ),
    ],
)
def test_settings_that_do_not_fit(settings: dict, line: str) -> None:
    with pytest.raises(InputError, match=line):
        own(**settings)
