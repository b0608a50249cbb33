"""The training's settings and the ranges that they may have; looked at before anything is built, without torch."""

from collections.abc import Mapping
from typing import Any

from octvideo.errors import InputError
from octvideo.training.schedule import SCHEDULES

OPTIMIZERS = ("sgd", "adamw")


def check_range(name: str, value: Any, fits: bool, allowed: str) -> None:
    """Raises ValueError, with the three in its text, if the value does not fit."""
    if not fits:
        raise InputError(f"{name} is {value}, allowed: {allowed}")


def check_settings(of: Mapping[str, Any]) -> None:
    """Raises ValueError for the first of VideoClassifier's training settings that is outside its range."""
    drops = list(of["drop_epochs"] or [])
    stepped = of["schedule"] == "step"
    alphas = list(of["alphas"] or [])
    listed = ", ".join(f"{alpha:g}" for alpha in alphas)
    for name, fits, allowed in (
        ("alphas", of["alphas"] is None or _are_alphas(alphas), ALPHAS),
        ("alpha", not alphas or of["alpha"] in alphas, f"one of alphas: {listed}"),
        ("freeze_norms", not (alphas and of["freeze_norms"]), "false with alphas"),
        ("backbone_lr_factor", not alphas or of["backbone_lr_factor"] != 0, "above 0 with alphas"),
        ("cascade", of["cascade"] is None or 0 < of["cascade"] < 1, "above 0 and below 1, or none"),
        ("cascade", of["cascade"] is None or not (alphas or of["multi_label"]), CASCADE),
        ("optimizer", of["optimizer"] in OPTIMIZERS, " or ".join(OPTIMIZERS)),
        ("lr", of["lr"] > 0, "above 0"),
        ("lr_batch_size", of["lr_batch_size"] is None or of["lr_batch_size"] > 0, "above 0, or none"),
        ("backbone_lr_factor", 0 <= of["backbone_lr_factor"] <= 1, "0 to 1"),
        ("momentum", 0 <= of["momentum"] < 1, "from 0 to below 1"),
        ("nesterov", not of["nesterov"] or of["momentum"] > 0, "false when momentum is 0"),
        ("betas", all(0 <= beta < 1 for beta in of["betas"]), "two numbers from 0 to below 1"),
        ("weight_decay", of["weight_decay"] >= 0, "0 or more"),
        ("schedule", of["schedule"] in SCHEDULES, " or ".join(SCHEDULES)),
        ("drop_epochs", drops == sorted(set(drops)) and min(drops, default=1) > 0, "increasing, above 0"),
        ("drop_epochs", bool(drops) == stepped, "one or more with schedule step, none with cosine"),
        ("drop_factor", 0 < of["drop_factor"] < 1, "between 0 and 1"),
        ("warmup_epochs", of["warmup_epochs"] >= 0, "0 or more"),
        ("warmup_start_lr", of["warmup_start_lr"] >= 0, "0 or more"),
        ("label_smoothing", 0 <= of["label_smoothing"] < 1, "from 0 to below 1"),
        ("label_smoothing", not (of["label_smoothing"] and of["multi_label"]), "0 with multi_label"),
        ("class_weights", _are_weights(of["class_weights"], of["num_classes"]), CLASS_WEIGHTS.format(**of)),
        ("precise_norm_batches", of["precise_norm_batches"] >= 0, "0 or more"),
        (
            "compile",
            not (of["compile"] and of["checkpoint_activations"]),
            "false with checkpoint_activations",
        ),
        ("ema_decay", 0 <= of["ema_decay"] < 1, "from 0 to below 1"),
    ):
        check_range(name, of[name], fits, allowed)


ALPHAS = "two or more numbers from 0 to below 1, increasing, or none"
CASCADE = "none in training and with multi_label"
CLASS_WEIGHTS = "balanced, {num_classes} numbers of 0 or more, or none"


def _are_alphas(alphas: list[float]) -> bool:
    return len(alphas) > 1 and alphas == sorted(set(alphas)) and alphas[0] >= 0 and alphas[-1] < 1


def _are_weights(weights: Any, num_classes: int) -> bool:
    if weights is None or weights == "balanced":
        return True
    return not isinstance(weights, str) and len(weights) == num_classes and min(weights) >= 0
