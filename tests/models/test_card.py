"""Cards that lie: out of a checkpoint or an exported network, one line that names the file."""

from pathlib import Path

import pytest
import torch

from octvideo.classifier import load_classifier
from octvideo.models.card import card_of, check_card
from octvideo.models.checkpoints import CARD_KEY, CheckpointError
from tests.cli_checkpoint import write_checkpoint


@pytest.mark.parametrize(
    ("card", "text"),
    [
        ({"num_frames": 10**7}, "in its card, num_frames is 10000000, allowed is a whole number, 1 to 1024"),
        ({"num_frames": "8"}, "num_frames is '8', allowed is a whole number"),
        ({"mean": [0.4]}, "mean is"),
        ({"std": [0, 0, 0]}, "std is"),
        ({"short_side": 34}, "short_side is 34, allowed is 2 whole numbers"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"num_classes": 10**9}, "num_classes is 1000000000"),
        ({"class_names": "left"}, "class_names is 'left', allowed is a list of names"),
        ({"class_names": [1, 2]}, "class_names is"),
        ({"class_names": ["a", "a"]}, "a list of different names"),
        ({"class_names": ["x" * 10**6]}, "class_names is"),
        ({"class_names": ["a"], "num_classes": 2}, "has 1 class_names, num_classes is 2"),
        ({"name": 3}, "name is 3, allowed is a text"),
        ({"published": {"top1": "much", "top5": 1, "source": "x"}}, "published is"),
        ({"published": 5}, "published is"),
        (["x"], "its card is no dictionary"),
        ("x", "its card is no dictionary"),
    ],
)
def test_lies_are_one_short_line(card, text: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        check_card(card, "/a/file.ckpt")
    assert text in str(caught.value)
    assert str(caught.value).startswith("/a/file.ckpt: ")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({CARD_KEY: ["x"]}, "what it has as 'octvideo' is no dictionary"),
        ({CARD_KEY: {"card": {"class_names": ["only"]}}}, "has 1 class_names, its num_classes is 2"),
        ({"hyper_parameters": {"name": "i3d_tiny", "num_classes": 10**9}}, "num_classes is 1000000000"),
        ({"hyper_parameters": {"name": "i3d_tiny", "alpha": "x"}}, "alpha is 'x'"),
        (
            {"hyper_parameters": {"name": "i3d_tiny", "channel_multiple": 10**12}},
            "channel_multiple is 1000000000000",
        ),
        ({"hyper_parameters": {"name": 3}}, "name is 3"),
    ],
)
def test_before_a_network_is_built(tmp_path: Path, changes: dict, text: str) -> None:
    file = write_checkpoint(tmp_path / "net.ckpt")
    torch.save({**torch.load(file, weights_only=True), **changes}, file)
    with pytest.raises(CheckpointError, match=r"net\.ckpt") as caught:
        load_classifier(file)
    assert text in str(caught.value)


def test_an_honest_card_is_taken(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "net.ckpt")
    card = card_of(torch.load(file, weights_only=True), file)
    assert card["class_names"] == ["left", "right"]
    assert check_card({**card, "published": None, "of the future": object}, file)["crop"] == card["crop"]
    assert card_of({}, file) == {}
