"""What the commands print and write when the trainer is done."""

import hashlib
import json
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from rich.table import Table
from torch import nn

import octvideo
from octvideo.card import RECIPE, Card, Published
from octvideo.classifier import VideoClassifier
from octvideo.cli import screen
from octvideo.cli.alphas import cascade_line, cascade_result
from octvideo.data import KineticsDataModule, open_video
from octvideo.evaluation import plots
from octvideo.evaluation.metrics import confusion_matrix
from octvideo.evaluation.relabelled import relabelled
from octvideo.evaluation.report import write_report
from octvideo.evaluation.results import error_line, write_results
from octvideo.models import MODELS, count_macs, count_parameters, create_model, layer_costs
from octvideo.text import shown


def cost(classifier: VideoClassifier, num_frames: int, crop: int) -> dict[str, Any]:
    """Parameters, and GFLOPs (multiply-adds, 1e9) of one clip, beside the dense network's."""
    shape = (1, 3, num_frames, crop, crop)
    network = classifier.network

    def built(**changes: Any) -> nn.Module:
        with torch.device("meta"):  # shapes only
            return create_model(**{**classifier.card.network, **changes})

    if next(network.parameters(), None) is None:  # an exported one, whose layers can't be seen
        network = built()
    gflops = dense_gflops = count_macs(network, shape) / 1e9
    if classifier.card.is_octave and classifier.name in MODELS:
        dense_gflops = count_macs(built(alpha=0.0, layer_alphas={}), shape) / 1e9
    elif classifier.card.is_octave:  # one's own, of which the octave one alone is there
        costs = layer_costs(network, shape)
        dense_gflops += sum(layer.dense_macs - layer.macs for layer in costs) / 1e9
    return {
        "parameters": count_parameters(network),
        "gflops": gflops,
        "dense_gflops": dense_gflops,
    }


def model_line(classifier: VideoClassifier, data: KineticsDataModule) -> str:
    """What is about to be trained, in one line."""
    num_frames, crop = data.card.num_frames, data.card.crop
    numbers = cost(classifier, num_frames, crop)
    dense = f" (dense {numbers['dense_gflops']:.3g})" if classifier.card.is_octave else ""
    of = f" of {', '.join(f'{alpha:g}' for alpha in classifier.alphas)}" if classifier.alphas else ""
    return (
        f"{classifier.name}, alpha {classifier.alpha:g}{of}, {classifier.num_classes} classes: "
        f"{numbers['parameters'] / 1e6:.2f} M parameters, {numbers['gflops']:.3g} GFLOPs{dense} "
        f"at {num_frames} x {crop} x {crop}"
    )


def after_fit(folder: Path, trainer: Trainer) -> None:
    """Plots the curves and says where things are."""
    written = []
    if (folder / "metrics.csv").is_file() and plots.plot_curves(
        folder / "metrics.csv", folder / "curves.png"
    ):
        written.append("curves.png")
    written += [f"checkpoints/{file.name}" for file in sorted((folder / "checkpoints").glob("[!.]*.ckpt"))]
    value = trainer.callback_metrics.get("val/top1")
    top1 = f"val top-1 {float(value):.1%}; " if value is not None else ""
    names = ", ".join(["config.yaml", "metrics.csv", *written])
    if screen.wants_json():
        metrics = {key: float(metric) for key, metric in trainer.callback_metrics.items()}
        screen.write_json(
            {"run_folder": str(folder.absolute()), "written": names.split(", "), "metrics": metrics}
        )
    screen.results().print(
        shown(f"{top1}{names} in {folder.absolute()}"), soft_wrap=True, highlight=False, markup=False
    )


def after_validate(metrics: dict[str, float]) -> None:
    """Prints the numbers."""
    if screen.wants_json():
        screen.write_json(metrics)
    table = Table("metric", "value", title="validation, one view a video")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4f}")
    screen.results().print(table)


def after_test(
    folder: Path,
    classifier: VideoClassifier,
    data: KineticsDataModule,
    *,
    wall_seconds: float,
) -> None:
    """Writes the result files, prints the table, and names every video that could not be scored."""
    from octvideo.cli.engine import versions

    scores = classifier.test_result
    assert scores is not None
    names = data.class_names or classifier.card.class_names
    card = replace(
        classifier.card,
        **{key: getattr(data.card, key) for key in RECIPE},
        class_names=names,
        version=octvideo.__version__,
    )
    report = classifier.load_report
    manifest = data.manifest("test")
    num_now = (
        scores.num_listed if data.rows is None else len(data.rows)
    )  # the others, an earlier run has scored
    listed = [list(manifest.paths), list(manifest.labels)]
    costs = cost(classifier, card.num_frames, card.test_crop)
    shape = (1, 3, card.num_frames, card.test_crop, card.test_crop)
    extra = {
        "name": classifier.name,
        "alpha": classifier.alpha,
        "channel_multiple": classifier.channel_multiple,
        "layer_alphas": classifier.layer_alphas,
        "num_classes": classifier.num_classes,
        "repeat_first_frame": data.repeat_first_frame,
        **costs,
        **cascade_result(classifier, scores, costs["gflops"], shape),
        "checkpoint": report.file if report else None,
        "wall_seconds": round(wall_seconds, 3),
        "data_share": round(
            classifier.test_data_seconds / wall_seconds, 3
        ),  # waiting for videos to be decoded
        "manifest_sha256": hashlib.sha256(json.dumps(listed).encode()).hexdigest(),
        "videos_per_second": round(num_now / wall_seconds, 3),
        "model_card": card.to_dict(),
        "published": asdict(card.published) if card.published else None,
        "versions": {**versions(), "python": platform.python_version()},
    }
    metrics = write_results(folder, scores, paths=data.paths("test"), class_names=names, extra=extra)
    labelled = not scores.multi_label and bool((scores.labels >= 0).any())
    if labelled:
        plots.plot_confusion(confusion_matrix(scores), names, folder / "confusion.png")

    write_report(
        folder / "report.html",
        scores,
        metrics,
        paths=data.paths("test"),
        class_names=names,
        read_frames=_frames_of,
    )

    if screen.wants_json():
        screen.write_json(metrics)
    console = screen.results()
    table = Table(title=f"{classifier.name}, alpha {classifier.alpha:g}")
    views = f"{card.num_clips} x {card.num_crops} views"
    several = ["mean_average_precision"] if scores.multi_label else []
    for column in (
        *("mAP" for _ in several),
        "top-1",
        "top-5",
        "videos scored",
        "parameters",
        "GFLOPs a view",
        "views a video",
    ):
        table.add_column(column, justify="right")
    is_dense = metrics["gflops"] == metrics["dense_gflops"]
    dense = "" if is_dense else f" (dense {metrics['dense_gflops']:.3g})"
    table.add_row(
        *(_percent(metrics[name]) for name in several),
        _percent(metrics["top1"]),
        _percent(metrics["top5"]),
        f"{metrics['videos_scored']} of {metrics['videos_listed']}",
        f"{metrics['parameters'] / 1e6:.2f} M",
        f"{metrics['gflops']:.3g}{dense}",
        views if scores.num_views != 1 else "1 (quick, not the published protocol)",
    )
    console.print(table)
    console.print(_recipe_line(card), soft_wrap=True, highlight=False)
    if classifier.cascade is not None:
        console.print(cascade_line(classifier, scores), soft_wrap=True, highlight=False)
    if card.published:
        line = shown(_published_line(card.published, MODELS[classifier.name].card))
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if told := relabelled(scores):
        console.print(told.sentence(names), soft_wrap=True, highlight=False, markup=False)
    if scores.errors:
        console.print(f"{len(scores.errors)} unreadable, not in the numbers above:")
        for item in metrics["unreadable"]:
            line = error_line(item["path"], item["error"])
            console.print(f"  {shown(line)}", soft_wrap=True, highlight=False, markup=False)
    pictures = ", confusion.png" if labelled else ""
    console.print(
        f"report.html, metrics.json, predictions.csv, per_class.csv, scores.npz{pictures} in "
        f"{shown(folder.absolute())}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _frames_of(path: str, count: int) -> np.ndarray:
    """Frames spread over a video, `uint8 (count, H, W, 3)`."""
    with open_video(path) as reader:
        last = reader.num_frames - 1
        return np.asarray(reader.frames_at([round(last * (i + 0.5) / count) for i in range(count)]))


def _recipe_line(card: Card) -> str:
    """Everything about the pixels that could move the numbers."""
    steps = " in steps" if card.frame_times == "steps" else ""
    frames = f"{card.num_frames} frames x {card.frame_stride} at {card.fps:g} fps{steps}"
    if card.frame_times == "segments":
        frames = f"{card.num_frames} frames of as many segments"
    return (
        f"{frames}, short side "
        f"{card.test_short_side}, crop {card.test_crop}, {card.num_clips} clips x {card.num_crops} crops, "
        f"{card.colour}, mean {list(card.mean)}, std {list(card.std)}"
    )


def _published_line(published: Published, recipe: Card) -> str:
    return (
        f"published by {published.source}: {published.top1:.2f} / {published.top5:.2f} % on Kinetics-400 with "
        f"{recipe.num_clips} x {recipe.num_crops} views"
        + (f"; measured otherwise: {published.differs}" if published.differs else "")
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
