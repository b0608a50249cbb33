"""Cards that lie: out of a checkpoint or an exported network, one line that names the file."""

import inspect
from pathlib import Path

import pytest
import torch

from octvideo.card import NETWORK, RECIPE, Card
from octvideo.classifier import load_classifier
from octvideo.data import KineticsDataModule
from octvideo.models import MODELS, create_model, open_weights
from octvideo.models.checkpoints import CARD_KEY, CheckpointError
from octvideo.models.table import read_card
from octvideo.models.weights import card_of
from tests.cli_checkpoint import write_checkpoint


def test_a_network_of_ones_own_has_a_card_too() -> None:
    assert read_card({"name": "MyNet", "num_classes": 3}, "/a/file.ckpt") == Card(name="MyNet", num_classes=3)


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
        ({"colour": "BGR"}, "colour is 'BGR', allowed is RGB"),
        ({"frame_times": "odd"}, "frame_times is 'odd', allowed is even or steps or segments"),
        ({"class_names": ["a"], "num_classes": 2}, "num_classes is 2, allowed is that of class_names, 1"),
        ({"name": 3}, "name is 3, allowed is a text"),
        ({"published": {"top1": "much", "top5": 1, "source": "x"}}, "published is"),
        ({"published": 5}, "published is"),
    ],
)
def test_lies_are_one_short_line(card, text: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_card(card, "/a/file.ckpt")
    assert text in str(caught.value)
    assert str(caught.value).startswith("/a/file.ckpt: in its card, ")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({CARD_KEY: {"card": ["x"]}}, "its card is no dictionary"),
        ({CARD_KEY: ["x"]}, "what it has as 'octvideo' is no dictionary"),
        (
            {CARD_KEY: {"card": {"class_names": ["only"]}}},
            "num_classes is 2, allowed is that of class_names, 1",
        ),
        ({"hyper_parameters": {"name": "i3d_tiny", "num_classes": 10**9}}, "num_classes is 1000000000"),
        ({"hyper_parameters": {"name": "i3d_tiny", "alpha": "x"}}, "alpha is 'x'"),
        (
            {"hyper_parameters": {"name": "i3d_tiny", "channel_multiple": 10**12}},
            "channel_multiple is 1000000000000",
        ),
        ({"hyper_parameters": {"name": 3}}, "name is 3"),
        ({"hyper_parameters": {"name": "i3d_tiny", "layer_alphas": "*"}}, "layer_alphas is '*'"),
        ({"hyper_parameters": {"name": "i3d_tiny", "layer_alphas": {"*": 2}}}, "layer_alphas is {'*': 2}"),
    ],
)
def test_before_a_network_is_built(tmp_path: Path, changes: dict, text: str) -> None:
    file = write_checkpoint(tmp_path / "net.ckpt")
    torch.save({**torch.load(file, weights_only=True), **changes}, file)
    with pytest.raises(CheckpointError, match=r"net\.ckpt") as caught:
        load_classifier(file)
    assert text in str(caught.value)


def test_an_honest_card_is_taken(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "net.ckpt", test_crop=48)
    card = card_of(torch.load(file, weights_only=True), file)
    assert (card.name, card.num_classes, card.class_names) == ("i3d_tiny", 2, ("left", "right"))
    assert (card.test_crop, card.mean) == (48, (0.45, 0.45, 0.45))
    assert Card.from_dict({**card.to_dict(), "published": None, "of the future": object}) == card
    assert card_of({}, file) is None


# Cards of earlier versions: dictionaries of eleven recipe keys, colour and class names, the network in the settings


OLD = {
    "num_frames": 4,
    "frame_stride": 5,
    "fps": 30.0,
    "short_side": [34, 40],
    "crop": 32,
    "test_short_side": 34,
    "test_crop": 32,
    "num_clips": 2,
    "num_crops": 1,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.2, 0.3],
    "colour": "RGB",
}


def test_an_old_checkpoint_is_read(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "net.ckpt", alpha=0.25)
    content = torch.load(file, weights_only=True)
    torch.save({**content, CARD_KEY: {"version": "0.1.0", "card": {**OLD, "class_names": None}}}, file)
    opened = open_weights(file)
    assert opened.card.recipe == {key: value for key, value in OLD.items() if key != "colour"} | {
        "frame_times": "even"
    }
    assert opened.card.network == {
        "name": "i3d_tiny", "alpha": 0.25, "channel_multiple": 1, "layer_alphas": {}, "num_classes": 2
    }  # fmt: skip
    assert (opened.card.class_names, opened.card.published, opened.card.version) == (None, None, "0.1.0")


def test_a_checkpoint_without_a_recipe_has_the_published_one(tmp_path: Path) -> None:
    """A module that was trained with somebody's own data module."""
    file = write_checkpoint(tmp_path / "net.ckpt")
    torch.save({**torch.load(file, weights_only=True), CARD_KEY: {"version": "0.1.0", "card": {}}}, file)
    assert open_weights(file).card.recipe == MODELS["i3d_tiny"].card.recipe


def test_an_old_exported_card(tmp_path: Path) -> None:
    """`octvideo export` of 0.1.0 wrote the settings, the recipe and the version beside one another."""
    values = {"name": "i3d_tiny", "alpha": 0.5, "num_classes": 2, **OLD, "version": "0.1.0"}
    card = read_card(values, tmp_path / "net.onnx")
    assert (card.alpha, card.channel_multiple, card.num_frames, card.test_crop) == (0.5, 1, 4, 32)


def test_the_data_module_has_the_recipe(tmp_path: Path) -> None:
    """Every name of the recipe is an argument of the data module, with the same default."""
    arguments = inspect.signature(KineticsDataModule).parameters
    defaults = Card()
    assert {key: arguments[key].default for key in RECIPE} == {key: getattr(defaults, key) for key in RECIPE}
    assert set(NETWORK) <= set(inspect.signature(create_model).parameters)
