"""`--budget_ms` and `--cascade`: at which alphas a checkpoint that was trained at several is scored."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from octvideo.bench.alphas import clip_milliseconds
from octvideo.classifier import VideoClassifier
from octvideo.cli.errors import UsageError
from octvideo.evaluation.scores import VideoScores
from octvideo.models import count_macs, open_weights
from octvideo.models.weights import Weights, largest_alpha

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def choose_alpha(section: Any, said: dict[str, dict[str, Any]], weights: Weights) -> str:
    """Puts the alpha that an option asks for into the settings that were said.

    Args:
        section: all settings of the command.
        said: those that were given.
        weights: what is scored.

    Returns:
        What is to be told; empty where no option asks for anything.

    Raises:
        UsageError: both options are given; no alpha keeps to the budget; several processes are to measure.
        CheckpointError: the weights are of one alpha.
    """
    budget, cascade = section.get("budget_ms"), section.get("cascade")
    if budget is None and cascade is None:
        return ""
    if budget is not None and cascade is not None:
        raise UsageError(f"--budget_ms is {budget:g} with --cascade {cascade:g}, allowed is one of them")
    largest = largest_alpha(weights)
    if cascade is not None:
        section.model.cascade = cascade
        said["model"]["alpha"] = least = min(weights.norms)
        return f"--cascade {cascade:g}: alpha {largest:g}, and {least:g} for what is below {cascade:g} there"
    milliseconds = _measured(section, said, weights)
    told = ", ".join(f"alpha {alpha:g} takes {taken:.3g} ms" for alpha, taken in milliseconds.items())
    fitting = [alpha for alpha, taken in milliseconds.items() if taken <= budget]
    if not fitting:
        raise UsageError(f"--budget_ms is {budget:g}, allowed is what a clip takes on this machine: {told}")
    said["model"]["alpha"] = min(fitting)
    return f"--budget_ms {budget:g}: {told}; alpha {min(fitting):g} is taken"


def _measured(section: Any, said: Mapping[str, Any], weights: Weights) -> dict[float, float]:
    """Milliseconds of a clip at every alpha, as the trainer will run it."""
    trainer, recipe = (
        section.trainer,
        {**weights.card.recipe, **said["data"]} if weights.card else said["data"],
    )
    devices = str(trainer.get("devices"))
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1 or (devices.isdigit() and int(devices) > 1):
        raise UsageError(
            f"--budget_ms needs trainer.devices 1, it is {devices}: processes may measure differently"
        )
    on_gpu = torch.cuda.is_available() and trainer.get("accelerator") in (None, "auto", "gpu", "cuda")
    networks = {alpha: open_weights(weights.file, alpha=alpha).network for alpha in weights.norms}
    return clip_milliseconds(
        networks,
        (recipe["num_frames"], recipe["test_crop"], recipe["test_crop"]),
        device="cuda" if on_gpu else "cpu",
        autocast=_AUTOCAST.get(str(trainer.get("precision"))),
    )


def cascade_result(
    classifier: VideoClassifier, scores: VideoScores, gflops: float, shape: tuple[int, ...]
) -> dict[str, Any]:
    """What metrics.json has of a cascade; empty where there was none.

    Args:
        classifier: that scored.
        scores: what it found.
        gflops: of a view at its `alpha`.
        shape: `(1, 3, T, H, W)`, of a view.
    """
    if classifier.cascade is None:
        return {}
    assert classifier.networks is not None
    first, share = classifier.alphas[-1], len(scores.again) / max(len(scores.videos), 1)
    return {
        "cascade": {
            "confidence": classifier.cascade,
            "first_alpha": first,
            "scored_again": len(scores.again),
            "share_again": round(share, 4),
        },
        "gflops": count_macs(classifier.networks.at(first), shape) / 1e9 + share * gflops,
    }


def cascade_line(classifier: VideoClassifier, scores: VideoScores) -> str:
    """How often a cascade had to score a second time."""
    count, total = len(scores.again), len(scores.videos)
    return (
        f"cascade: {count} of {total} ({count / max(total, 1):.1%}) were below {classifier.cascade:g} at alpha "
        f"{classifier.alphas[-1]:g} and scored again at alpha {classifier.alpha:g}"
    )
