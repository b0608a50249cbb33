"""Which settings win, as a table of literal dictionaries; nothing is built and no file is read."""

from pathlib import Path

import pytest

from octvideo.card import Card
from octvideo.cli.errors import UsageError
from octvideo.cli.resolve import resolve

DEFAULTS = {
    "model": {
        "name": "i3d_r50",
        "alpha": 0.0,
        "channel_multiple": 1,
        "layer_alphas": None,
        "num_classes": 400,
        "multi_label": False,
    },
    "data": {**Card().recipe, "num_classes": None},
}
RECIPES = {"i3d_r50": Card().recipe, "x3d_s": Card(num_frames=13, frame_stride=6, test_crop=182).recipe}
CARD = {
    "name": "x3d_s",
    "alpha": 0.25,
    "channel_multiple": 16,
    "layer_alphas": {"blocks.3.*": 0},
    "num_classes": 7,
    "multi_label": True,
    "num_frames": 4,
    "mean": [0.5, 0.5, 0.5],
}


def resolved(given=None, card=None, **more):
    return resolve(given or {}, DEFAULTS, card, RECIPES, **more)


def test_nothing_said_is_the_default_network_as_published() -> None:
    found = resolved()
    assert found.model == DEFAULTS["model"]
    assert found.data == {**Card().recipe, "num_classes": 400, "multi_label": False}
    assert found.trainer == {"default_root_dir": "runs/i3d_r50"}
    assert found.notes == []


def test_a_network_brings_its_recipe() -> None:
    found = resolved({"model": {"name": "x3d_s"}, "data": {"frame_stride": 2}})
    assert [found.data[key] for key in ("num_frames", "frame_stride", "test_crop")] == [13, 2, 182]
    assert found.trainer == {"default_root_dir": "runs/x3d_s"}


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_the_weights_card_comes_before_the_recipe(command: str) -> None:
    found = resolved(card=CARD, command=command)
    assert found.model == {key: CARD[key] for key in DEFAULTS["model"]}
    # What the card lacks is the recipe's of the network that it names.
    assert [found.data[key] for key in ("num_frames", "frame_stride", "mean")] == [4, 6, [0.5, 0.5, 0.5]]
    assert found.data["num_classes"] == 7
    assert found.notes == []


def test_what_is_given_wins_and_is_said_where_it_differs() -> None:
    given = {
        "model": {"alpha": 0.5, "channel_multiple": 16},
        "data": {"num_frames": 8, "mean": (0.5, 0.5, 0.5), "crop": 96},
    }
    found = resolved(given, CARD)
    assert (found.model["alpha"], found.data["num_frames"], found.data["crop"]) == (0.5, 8, 96)
    assert found.notes == [
        "note: data.num_frames is 8, the checkpoint's is 4",
        "note: model.alpha is 0.5, the checkpoint's is 0.25",
    ]


def test_a_training_that_goes_on_keeps_its_clips_and_is_asked_for_its_network() -> None:
    """`octvideo fit --ckpt_path last` without the first command's options took the defaults' clips before."""
    found = resolved({"model": {"name": "x3d_s"}}, CARD, command="fit")
    assert (found.data["num_frames"], found.data["mean"]) == (4, [0.5, 0.5, 0.5])
    assert found.model == {**DEFAULTS["model"], "name": "x3d_s"}


@pytest.mark.parametrize(
    ("given", "listed", "expected"),
    [
        ({}, None, (7, 7)),
        ({"data": {"num_classes": 5}}, None, (5, 5)),
        ({}, 3, (3, 3)),
        ({"model": {"num_classes": 9}}, 3, (9, 9)),
        ({"model": {"num_classes": 9}, "data": {"num_classes": 5}}, None, (9, 5)),
    ],
)
def test_one_number_of_classes(given: dict, listed: int | None, expected: tuple[int, int]) -> None:
    found = resolved(given, CARD, num_listed=listed)
    assert (found.model["num_classes"], found.data["num_classes"]) == expected


@pytest.mark.parametrize(
    ("given", "weights", "folder"),
    [
        ({}, "/runs/a/checkpoints/best.ckpt", "/runs/a"),
        ({"trainer": {"default_root_dir": "/b"}}, "/runs/a/checkpoints/best.ckpt", "/b"),
        ({}, "/zoo/best.ckpt", "runs/x3d_s"),
    ],
)
def test_results_lie_beside_the_checkpoint(given: dict, weights: str, folder: str) -> None:
    assert resolved(given, CARD, weights=Path(weights)).trainer == {"default_root_dir": folder}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"model": {"alpha": 0.5}}, "model.alpha is 0.5, /net.onnx was exported with 0.25"),
        ({"data": {"num_frames": 8}}, "data.num_frames is 8, /net.onnx was exported with 4"),
    ],
)
def test_an_exported_network_is_what_it_is(given: dict, text: str) -> None:
    more = {"weights": Path("/net.onnx"), "exported": True}
    with pytest.raises(UsageError, match=text):
        resolved(given, CARD, **more)
    assert resolved({"model": {"alpha": 0.25}}, CARD, num_listed=3, **more).model["num_classes"] == 7
