"""What a network makes of videos: its confident mistakes, its classes over time, where it looks.

T frames of a clip, H height, W width, C classes.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from octvideo.card import Card
from octvideo.data.dataset import ClipSpec
from octvideo.data.decode import open_video
from octvideo.data.sampling import video_seconds
from octvideo.errors import InputError
from octvideo.evaluation.scores import VideoScores
from octvideo.viz._figure import as_array, new_figure, picture
from octvideo.viz.clips import read_clip


class Mistake(NamedTuple):
    """A video whose most probable class is not its label.

    Attributes:
        video: its row in the manifest.
        label: its class.
        predicted: the most probable class.
        probability: of that class, 0 to 1.
    """

    video: int
    label: int
    predicted: int
    probability: float


def confident_mistakes(scores: VideoScores, count: int = 5) -> list[Mistake]:
    """The labelled videos that are wrong, the most probable wrong class first.

    Args:
        scores: of a test.
        count: at most.
    """
    predicted = scores.probabilities.argmax(axis=1)
    confidence = scores.probabilities.max(axis=1)
    wrong = np.flatnonzero((predicted != scores.labels) & (scores.labels >= 0))
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return [
        Mistake(int(scores.videos[i]), int(scores.labels[i]), int(predicted[i]), float(confidence[i]))
        for i in wrong
    ]


def plot_mistakes(
    mistakes: Sequence[Mistake], paths: Sequence[str], class_names: Sequence[str], num_frames: int = 8
) -> Figure:
    """A strip of frames for each mistake, evenly spread over its video.

    Args:
        mistakes: at least one.
        paths: of the videos, by row of the manifest.
        class_names: by class.
        num_frames: a strip.

    Raises:
        ValueError: there are no mistakes.
    """
    if not mistakes:
        raise InputError("mistakes is empty, allowed is one or more")
    figure = new_figure(1.1 * num_frames, 1.35 * len(mistakes))
    strips = figure.subfigures(len(mistakes), 1, squeeze=False)[:, 0]
    for strip, mistake in zip(strips, mistakes, strict=True):
        with open_video(paths[mistake.video]) as video:
            frames = video.frames_at(np.linspace(0, video.num_frames - 1, num_frames).round().astype(int))
        for axes, frame in zip(strip.subplots(1, num_frames, squeeze=False)[0], frames, strict=True):
            picture(axes, frame)
        names = f"{class_names[mistake.label]}, taken for {class_names[mistake.predicted]}"
        strip.suptitle(f"{names} ({mistake.probability:.0%})", fontsize=9, x=0.01, ha="left")
    return figure


def class_timeline(
    network: nn.Module, path: str, card: Card, *, every_seconds: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities of clips that slide over a video.

    Args:
        network: takes `float (B, 3, T, H, W)`; in evaluation mode.
        path: the video.
        card: the preprocessing, as `read_clip` takes it.
        every_seconds: from one clip to the next.

    Returns:
        The middles of the clips, `float64 (N,)` seconds after the first frame, and `float64 (N, C)`.
    """
    spec = ClipSpec.of(card)
    with open_video(path) as video:
        length = video_seconds(video.pts_seconds)
    starts = np.arange(0.0, max(length - spec.seconds, 0.0) + 1e-9, every_seconds)
    with torch.no_grad():
        rows = [network(read_clip(path, card, float(start))[0][None]).softmax(dim=-1)[0] for start in starts]
    return starts + spec.seconds / 2, torch.stack(rows).double().cpu().numpy()


def plot_class_timeline(
    seconds: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str], count: int = 8
) -> Figure:
    """The most probable classes over a video, one row a class.

    Args:
        seconds: `(N,)`, evenly spaced.
        probabilities: `(N, C)`.
        class_names: C names.
        count: classes shown, by their highest probability.
    """
    order = np.sort(np.argsort(-probabilities.max(axis=0), kind="stable")[:count])
    figure = new_figure(9, 0.9 + 0.32 * len(order))
    axes = figure.subplots()
    half = (seconds[1] - seconds[0]) / 2 if len(seconds) > 1 else 0.5
    extent = (seconds[0] - half, seconds[-1] + half, len(order) - 0.5, -0.5)
    image = axes.imshow(
        probabilities[:, order].T,
        aspect="auto",
        extent=extent,
        vmin=0,
        vmax=1,
        cmap="Blues",
        interpolation="nearest",
    )
    axes.set_yticks(range(len(order)), [class_names[c] for c in order], fontsize=8)
    axes.set_xlabel("seconds")
    axes.set_ylabel("class")
    figure.colorbar(image, ax=axes, label="probability", pad=0.01)
    return figure


class Saliency(NamedTuple):
    """Grad-CAM of a clip on one scale from 0 to 1.

    Attributes:
        both: the two frequencies together, `float (T, H, W)`.
        high: the high group alone, the same shape.
        low: the low group alone, the same shape; 0 in a dense layer.
    """

    both: Tensor
    high: Tensor
    low: Tensor


def grad_cam(network: nn.Module, clip: Tensor, layer: str, target: int | None = None) -> Saliency:
    """Where a network looks, through both frequencies of one layer (Grad-CAM, arXiv 1610.02391).

    Each group's maps are weighted with their mean gradient and added up; the two sums are brought to the clip's
    size, added, and what speaks against the class is cut off.

    Args:
        network: takes `float (B, 3, T, H, W)`; in evaluation mode. Its gradients are left as they are.
        clip: `float (3, T, H, W)`.
        layer: path of a convolution, octave or dense.
        target: the class; None is the most probable one.

    Raises:
        ValueError: the network has no such layer.
    """
    modules = dict(network.named_modules())
    if layer not in modules:
        raise InputError(f"layer is {layer!r}; it must be the path of a module of the network")
    maps: list[Tensor | None] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        maps.extend([output, None] if isinstance(output, Tensor) else output)

    handle = modules[layer].register_forward_hook(keep)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:  # their gradients are half of the work, and nobody asks for them
            parameter.requires_grad_(False)
        with torch.enable_grad():
            logits = network(clip[None].clone().requires_grad_())[0]
            score = logits[int(logits.argmax()) if target is None else target]
            there = [part for part in maps if part is not None]
            gradients = iter(torch.autograd.grad(score, there))
    finally:
        handle.remove()
        for parameter in trained:
            parameter.requires_grad_(True)
    size = clip.shape[1:]
    sums = [torch.zeros(size) if part is None else _weighted(part, next(gradients), size) for part in maps]
    both = (sums[0] + sums[1]).clamp_min(0)
    found = [both, *(one.clamp_min(0) for one in sums)]
    largest = max(float(one.max()) for one in found)
    return Saliency(*(one / max(largest, 1e-12) for one in found))


def _weighted(maps: Tensor, gradient: Tensor, size: Sequence[int]) -> Tensor:
    weights = gradient.mean(dim=(2, 3, 4), keepdim=True)
    total = (weights * maps).sum(dim=1, keepdim=True).detach()
    return F.interpolate(total, size=tuple(size), mode="trilinear", align_corners=False)[0, 0].cpu()


def overlay(frames: Tensor, saliency: Tensor) -> Tensor:
    """Frames with a saliency laid over them in colour.

    Args:
        frames: `uint8 (T, H, W, 3)`.
        saliency: `float (T, H, W)`, 0 to 1.

    Returns:
        `uint8 (T, H, W, 3)`.
    """
    import matplotlib

    heat = torch.from_numpy(matplotlib.colormaps["inferno"](as_array(saliency))[..., :3]).float() * 255
    weight = 0.65 * saliency.float()[..., None]
    return (frames.float() * (1 - weight) + heat * weight).round().to(torch.uint8)


def per_frame(saliency: Saliency) -> Saliency:
    """Each frame on a scale of its own: where its largest value lies, whatever other frames have.

    A network's answer often hangs on a few frames; on the clip's one scale the others are blank.

    Args:
        saliency: on any scale.

    Returns:
        The same, the largest value of each frame 1, or 0 where nothing speaks for the class.
    """
    largest = torch.stack(list(saliency)).amax(dim=(0, 2, 3))
    return Saliency(*(one / largest.clamp_min(1e-12)[:, None, None] for one in saliency))


def plot_saliency(frames: Tensor, saliency: Saliency) -> Figure:
    """The frames of a clip, and over them the saliency of both groups together and of each, frame by frame.

    Every frame has a scale of its own; above it stands its largest value, in percent of the clip's.

    Args:
        frames: `uint8 (T, H, W, 3)`.
        saliency: of that clip.
    """
    scaled = per_frame(saliency)
    rows = {"frames": frames, **{name: overlay(frames, one) for name, one in scaled._asdict().items()}}
    largest = torch.stack(list(saliency)).amax(dim=(0, 2, 3)).tolist()
    figure = new_figure(1.15 * len(frames), 1.2 * len(rows))
    grid = figure.subplots(len(rows), len(frames), squeeze=False)
    for line, (name, pictures) in zip(grid, rows.items(), strict=True):
        for axes, one in zip(line, pictures, strict=True):
            picture(axes, one)
        line[0].set_ylabel(name)
    for axes, share in zip(grid[0], largest, strict=True):
        axes.set_title(f"{share:.0%}", fontsize=9)
    return figure


def animate(frames: Tensor, *, frames_per_second: float = 8.0, scale: int = 3) -> str:
    """Frames as an animated picture in HTML, an `<img>` that needs no other file.

    Args:
        frames: `uint8 (T, H, W, 3)`.
        frames_per_second: how fast it plays, over and over.
        scale: enlargement, a whole number.
    """
    images = [Image.fromarray(as_array(frame)) for frame in frames]
    images = [image.resize((scale * image.width, scale * image.height)) for image in images]
    content = io.BytesIO()
    duration = round(1000 / frames_per_second)
    images[0].save(content, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)
    return (
        f'<img src="data:image/gif;base64,{base64.b64encode(content.getvalue()).decode()}" alt="animation">'
    )
