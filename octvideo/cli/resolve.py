"""Which settings a run has: those given, else the weights', else the published recipe's, else the defaults.

A pure function of plain values, so that each rule is a line in a test.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from octvideo.card import NETWORK, RECIPE
from octvideo.cli.claim import run_folder
from octvideo.cli.errors import UsageError

_FIXED = ("num_frames", "test_crop")  # of an exported network, beside what makes it


class Resolved(NamedTuple):
    """The settings that a run has in the place of its defaults, and what is to be said about them."""

    model: dict[str, Any]
    data: dict[str, Any]
    trainer: dict[str, Any]
    notes: list[str]


def resolve(
    given: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Mapping[str, Any]],
    card: Mapping[str, Any] | None,
    recipes: Mapping[str, Mapping[str, Any]],
    *,
    command: str = "test",
    weights: Path | None = None,
    exported: bool = False,
    num_listed: int | None = None,
) -> Resolved:
    """The settings of a run.

    Args:
        given: "model", "data" and "trainer": what was said, by options or a configuration.
        defaults: the same, of everything.
        card: what the weights say of themselves, as `Card.to_dict` gives it; None where they say nothing.
        recipes: by network, what `Card.recipe` gives of its published weights.
        command: "fit", "validate", "test" or "predict".
        weights: the file that `card` comes from.
        exported: whether that is an exported network, of which nothing can be changed.
        num_listed: how many classes the class list has, if there is one.

    Raises:
        UsageError: an exported network is asked for something else than it is.
    """
    stored = {key: value for key, value in (card or {}).items() if value is not None}
    said = {group: dict(given.get(group) or {}) for group in ("model", "data", "trainer")}
    if exported:
        _check_fixed(said, stored, weights)

    # A training that goes on keeps its clips; that its network is the same one is checked when it is loaded.
    of_network = {} if command == "fit" else stored
    model = {
        key: said["model"].get(key, of_network.get(key, defaults["model"][key]))
        for key in (*NETWORK, "multi_label")
    }
    if "num_classes" not in said["model"] and not exported:
        listed = num_listed or said["data"].get("num_classes")
        model["num_classes"] = listed or model["num_classes"]

    recipe = recipes.get(model["name"], {})
    data = {
        key: said["data"].get(key, stored.get(key, recipe.get(key, defaults["data"][key]))) for key in RECIPE
    }
    for key in ("num_classes", "multi_label"):
        data[key] = said["data"].get(key, model[key])

    folder = said["trainer"].get("default_root_dir")
    if folder is None and weights is not None and weights.parent.name == "checkpoints":
        folder = str(weights.parent.parent)
    folder = str(run_folder(folder, model["name"]))

    differ = [("data", key) for key in RECIPE] + [("model", key) for key in NETWORK if command != "fit"]
    notes = [
        f"note: {group}.{key} is {said[group][key]}, the checkpoint's is {stored[key]}"
        for group, key in differ
        if key in said[group] and key in stored and _plain(said[group][key]) != _plain(stored[key])
    ]
    return Resolved(model, data, {"default_root_dir": folder}, notes)


def _check_fixed(given: Mapping[str, Mapping[str, Any]], card: Mapping[str, Any], file: Path | None) -> None:
    for group, keys in (("model", NETWORK), ("data", _FIXED)):
        for key in keys:
            value, theirs = given[group].get(key), card.get(key)
            if value is not None and theirs is not None and value != theirs:
                raise UsageError(f"{group}.{key} is {value}, {file} was exported with {theirs}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
