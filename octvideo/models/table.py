"""The networks by name, each with the recipe that it was published with."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorchvideo.models import hub
from pytorchvideo.models.net import Net
from torch import nn
from torchvision.models import video

from octvideo.card import Card, Published
from octvideo.errors import InputError
from octvideo.layers.flat import flat_convs
from octvideo.limits import check_numbers
from octvideo.models.checkpoints import CheckpointError
from octvideo.models.nonlocal_i3d import i3d_nl_r50
from octvideo.models.octavize import octavize
from octvideo.models.pathways import SlowFastNet, VideoNet, any_crop
from octvideo.models.recipe import ModelSpec, kinetics400_names
from octvideo.models.repair import repair
from octvideo.models.tiny import i3d_tiny


def _ready(net: nn.Module) -> Any:
    return any_crop(flat_convs(repair(net)))


def _single_path(builder: Callable[..., Net], **settings: Any) -> Callable[[int], nn.Module]:
    return lambda num_classes: VideoNet(_ready(builder(model_num_class=num_classes, **settings)).blocks)


def _slowfast(builder: Callable[..., Net]) -> Callable[[int], nn.Module]:
    return lambda num_classes: SlowFastNet(_ready(builder(model_num_class=num_classes)).blocks)


def _torchvision(builder: Callable[..., nn.Module]) -> Callable[[int], nn.Module]:
    return lambda num_classes: _ready(builder(num_classes=num_classes))


# pytorchvideo's residual blocks, of one pathway or two, and torchvision's.
_RES_BLOCKS = r"blocks\.\d+\.(multipathway_blocks\.\d\.)?res_blocks\.\d+"
_LAYERS = r"layer\d\.\d+"


def _kinetics(
    build: Callable[[int], nn.Module],
    num_frames: int,
    frame_stride: int,
    top1: float,
    top5: float,
    *,
    head: str,
    blocks: str = _RES_BLOCKS,
    source: str = "pytorchvideo",  # its docs/source/model_zoo.md; for PySlowFast its MODEL_ZOO.md
    differs: str = "",
    **card: Any,
) -> ModelSpec:
    """A network with published Kinetics-400 weights; per cent."""
    published = Published(top1, top5, source, differs)
    card |= {"num_frames": num_frames, "frame_stride": frame_stride, "published": published}
    return ModelSpec(build, Card(**card), head, blocks)


# torchvision's weights, KINETICS400_V1, measured by its references/video_classification: `VideoClips` at 15 frames a
# second, `UniformClipSampler`, `VideoClassification` of transforms/_presets.py. Of that the frames of a clip,
# the number of clips, the crop and the colours are here. The rest would be two more settings of all data.
_TORCHVISION: dict[str, Any] = {
    "source": "torchvision",
    "fps": 15.0,
    "mean": (0.43216, 0.394666, 0.37645),
    "std": (0.22803, 0.22145, 0.216989),
    "num_crops": 1,
    "frame_times": "steps",
}
_RESNET_18: dict[str, Any] = {
    **_TORCHVISION,
    "head": "fc",
    "blocks": _LAYERS,
    "head_rule": "features",
    "crop": 112,
    "short_side": (128, 128),
    "test_short_side": 128,
    "test_crop": 112,
    "num_clips": 5,
    "differs": "pictures squashed to 128 x 171 without antialias, the last clip at the video's end",
}
_S3D: dict[str, Any] = {
    **_TORCHVISION,
    "head": "classifier.1",
    "blocks": "",
    "head_rule": "logits",
    "short_side": (256, 256),
    "test_crop": 224,
    "num_clips": 1,
    "differs": "pictures squashed to 256 x 256 without antialias, one clip at the video's start",
}
_X3D_S: dict[str, Any] = {"crop": 160, "short_side": (182, 228), "test_short_side": 182, "test_crop": 182}
# These would end with a softmax, which the loss and the evaluation have of their own.
_LOGITS: dict[str, Any] = {"head_activation": None}
_TINY = Card(
    num_frames=8,
    frame_stride=2,
    crop=64,
    short_side=(66, 78),
    test_short_side=72,
    test_crop=64,
    num_clips=5,
    num_crops=1,
    head_rule="features",
)
# pytorchvideo's I3D and SlowFast have a block of their pool, or of their two pathways' joining, before the head.
_FIFTH, _SIXTH = {"head": "blocks.5.proj"}, {"head": "blocks.6.proj"}

MODELS: dict[str, ModelSpec] = {
    "i3d_tiny": ModelSpec(_single_path(i3d_tiny), _TINY, "blocks.5.proj", _RES_BLOCKS),
    "c2d_r50": _kinetics(_single_path(hub.c2d_r50), 8, 8, 71.46, 89.68, **_SIXTH),
    "i3d_r50": _kinetics(_single_path(hub.i3d_r50), 8, 8, 73.27, 90.70, **_SIXTH),
    # Its weights are in a Caffe2 .pkl file, which `models.checkpoints` does not read.
    "i3d_nl_r50": _kinetics(_single_path(i3d_nl_r50), 8, 8, 74.0, 91.1, source="PySlowFast", **_SIXTH),
    "slow_r50": _kinetics(_single_path(hub.slow_r50), 8, 8, 74.58, 91.63, **_FIFTH),
    "slowfast_r50": _kinetics(_slowfast(hub.slowfast_r50), 32, 2, 76.94, 92.69, **_SIXTH),
    "slowfast_r101": _kinetics(_slowfast(hub.slowfast_r101), 32, 2, 77.90, 93.27, **_SIXTH),
    "csn_r101": _kinetics(_single_path(hub.csn_r101), 32, 2, 77.00, 92.90, **_FIFTH),
    "r2plus1d_r50": _kinetics(_single_path(hub.r2plus1d_r50, **_LOGITS), 16, 4, 76.01, 92.23, **_FIFTH),
    "x3d_s": _kinetics(_single_path(hub.x3d_s, **_LOGITS), 13, 6, 73.33, 91.27, **_FIFTH, **_X3D_S),
    "x3d_m": _kinetics(_single_path(hub.x3d_m, **_LOGITS), 16, 5, 75.94, 92.72, **_FIFTH),
    "r3d_18": _kinetics(_torchvision(video.r3d_18), 16, 1, 63.20, 83.48, **_RESNET_18),
    "mc3_18": _kinetics(_torchvision(video.mc3_18), 16, 1, 63.96, 84.13, **_RESNET_18),
    "r2plus1d_18": _kinetics(_torchvision(video.r2plus1d_18), 16, 1, 67.46, 86.18, **_RESNET_18),
    "s3d": _kinetics(_torchvision(video.s3d), 128, 1, 68.37, 88.05, **_S3D),
}


def get_spec(name: str) -> ModelSpec:
    """The spec of a name.

    Raises:
        ValueError: no such network.
    """
    if name not in MODELS:
        raise InputError(f"model is {name!r}; it must be one of {', '.join(MODELS)}")
    return MODELS[name]


def build_model(
    name: str, *, alpha: float = 0.0, num_classes: int = 400, channel_multiple: int = 1
) -> nn.Module:
    """A network of random weights; arguments and errors as `create_model`'s."""
    check_numbers({"num_classes": num_classes, "channel_multiple": channel_multiple})
    model = get_spec(name).build(num_classes)
    try:
        return octavize(model, alpha, channel_multiple=channel_multiple) if alpha else model
    except InputError as error:
        raise InputError(f"model {name}: {error}") from None


def model_card(name: str, *, alpha: float = 0.0, num_classes: int = 400, channel_multiple: int = 1) -> Card:
    """The card of a network's published weights.

    Args:
        name: a key of ``MODELS``.
        alpha: octave ratio; the published result is the dense network's, and in the card for alpha 0 alone.
        num_classes: the names in the card are Kinetics-400's in their published order, for 400 classes alone.
        channel_multiple: what the numbers of low channels are rounded to.
    """
    card = get_spec(name).card
    published = card.published if num_classes == 400 else None
    return replace(
        card,
        name=name,
        alpha=alpha,
        channel_multiple=channel_multiple,
        num_classes=num_classes,
        class_names=tuple(kinetics400_names()) if published else None,
        published=None if alpha else published,
    )


def read_card(values: Mapping[str, Any], file: str | Path) -> Card:
    """The card of a dictionary that anybody may have written; what an old one lacks is as in the published recipe.

    Raises:
        CheckpointError: naming the file and the value that no card can have.
    """
    try:
        card = Card.from_dict(values)
        if card.name is None:
            return card
        base = replace(get_spec(card.name).card, published=None)
        return Card.from_dict(values, base)
    except InputError as error:
        raise CheckpointError(f"{file}: in its card, {error}") from None
