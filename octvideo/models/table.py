"""The networks by name, each with the recipe that it was published with."""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorchvideo.models import hub
from pytorchvideo.models.net import Net
from pytorchvideo.models.resnet import create_resnet
from pytorchvideo.models.slowfast import FastToSlowFusionBuilder, create_slowfast
from torch import nn
from torchvision.models import video

from octvideo.card import Card, Published, is_octave
from octvideo.errors import InputError
from octvideo.layers.flat import flat_convs
from octvideo.limits import check_numbers
from octvideo.models.checkpoints import CheckpointError
from octvideo.models.inception import InceptionI3d
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


def _slowfast(
    builder: Callable[..., Net], to_last: bool = True, **settings: Any
) -> Callable[[int], nn.Module]:
    return lambda num_classes: SlowFastNet(
        _ready(builder(model_num_class=num_classes, **settings)).blocks, to_last=to_last
    )


def _torchvision(builder: Callable[..., nn.Module]) -> Callable[[int], nn.Module]:
    return lambda num_classes: _ready(builder(num_classes=num_classes))


def _inception(num_classes: int) -> nn.Module:
    return flat_convs(InceptionI3d(num_classes))


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
# DeepMind's kinetics-i3d and the paper's section 3: 25 frames a second, short side 256, the crop in the middle, the
# whole video at once. Four clips of 64 frames cover it.
_INCEPTION: dict[str, Any] = {
    "source": "DeepMind",
    "head": "fc",
    "blocks": r"features\.mixed_\d\w",
    "head_rule": "features",
    "fps": 25.0,
    "frame_times": "steps",
    "mean": (0.5, 0.5, 0.5),  # pixels in -1 to 1
    "std": (0.5, 0.5, 0.5),
    "short_side": (256, 256),
    "test_crop": 224,
    "num_clips": 4,
    "num_crops": 1,
    "differs": "on the test set, the network over all 250 frames at once; the paper's result with ImageNet's weights "
    "at the start, which the file does not say it had",
}
# PySlowFast's C2D_NOPOOL: no kernel and no pool reaches over time.
_NO_TIME: dict[str, Any] = {
    "stem_conv_kernel_size": (1, 7, 7),
    "stage_conv_a_kernel_size": ((1, 1, 1),) * 4,
    "head_pool_kernel_size": (8, 7, 7),
}
# mmaction2's, configs/recognition/{slowonly,i3d,slowfast}: ImageNet's colours, frames counted whatever their rate.
_MM: dict[str, Any] = {
    "source": "mmaction2",
    "head_rule": "features",
    "frame_times": "steps",
    "mean": (123.675 / 255, 116.28 / 255, 103.53 / 255),
    "std": (58.395 / 255, 57.12 / 255, 57.375 / 255),
    "differs": "every frame_stride-th frame of a file whatever its rate, clips where its SampleFrames has them",
}
_MEAN_FEATURES: dict[str, Any] = {"head_pool": nn.AdaptiveAvgPool3d}
_MM_SLOWONLY: dict[str, Any] = {**_MEAN_FEATURES, "stem_conv_kernel_size": (1, 7, 7)}
_MM_I3D: dict[str, Any] = {**_MEAN_FEATURES, "stem_conv_stride": (2, 2, 2), "stem_pool_stride": (2, 2, 2)}
_MM_SLOWFAST: dict[str, Any] = {
    **_MEAN_FEATURES,
    # The fast pathway joins the slow one without a norm and a ReLU.
    "fusion_builder": FastToSlowFusionBuilder(
        slowfast_channel_reduction_ratio=8,
        conv_fusion_channel_ratio=2,
        conv_kernel_size=(7, 1, 1),
        conv_stride=(4, 1, 1),
        norm=None,
        activation=None,
    ).create_module,
}
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
    # PySlowFast's zoo has a C2D without pools over time, and the next I3D, in Caffe2 files.
    "c2d_nopool_r50": _kinetics(
        _single_path(create_resnet, **_NO_TIME), 8, 8, 67.2, 87.8, source="PySlowFast", **_FIFTH
    ),
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
    "slowonly_r50_mm": _kinetics(
        _single_path(create_resnet, **_MM_SLOWONLY), 8, 8, 75.15, 92.11, **_FIFTH, **_MM
    ),
    "i3d_r50_mm": _kinetics(_single_path(hub.i3d_r50, **_MM_I3D), 32, 2, 73.47, 91.27, **_SIXTH, **_MM),
    "slowfast_r50_mm": _kinetics(
        _slowfast(create_slowfast, to_last=False, **_MM_SLOWFAST), 32, 2, 76.80, 92.99, **_SIXTH, **_MM
    ),
    "i3d_inception": _kinetics(_inception, 64, 1, 71.1, 89.3, **_INCEPTION),
}


def list_models(pattern: str = "*") -> list[str]:
    """The names of the networks, those of a pattern as of file names: `"*i3d*"`."""
    return fnmatch.filter(MODELS, pattern)


def register_model(name: str, spec: ModelSpec) -> None:
    """Adds a network of one's own under a name, for `create_model`, `VideoClassifier(name)` and `list_models`.

    Args:
        name: letters, digits and `_`; one that is not taken.
        spec: how it is built, `build(num_classes)`, and the clip and views that belong to it.

    Raises:
        InputError: the name is taken, or none.

    Example:
        >>> register_model("my_net", ModelSpec(MODELS["i3d_tiny"].build, Card(num_frames=4, crop=32), "blocks.5.proj"))
        >>> list_models("my_*")
        ['my_net']
    """
    if not name.isidentifier():
        raise InputError(f"name is {name!r}, allowed are letters, digits and _")
    if name in MODELS:
        raise InputError(f"name is {name!r}, which is a model already; taken are {', '.join(MODELS)}")
    MODELS[name] = spec


def get_spec(name: str) -> ModelSpec:
    """The spec of a name.

    Raises:
        ValueError: no such network.
    """
    if name not in MODELS:
        raise InputError(
            f"model is {name!r}; it must be one of {', '.join(MODELS)}, or a network of one's own that is given "
            "as network"
        )
    return MODELS[name]


def build_model(
    name: str,
    *,
    alpha: float = 0.0,
    num_classes: int = 400,
    channel_multiple: int = 1,
    layer_alphas: Mapping[str, float] | None = None,
) -> nn.Module:
    """A network of random weights; arguments and errors as `create_model`'s."""
    check_numbers({"num_classes": num_classes, "channel_multiple": channel_multiple})
    model = get_spec(name).build(num_classes)
    if not is_octave(alpha, layer_alphas):
        return model
    try:
        return octavize(model, alpha, channel_multiple=channel_multiple, layer_alphas=layer_alphas)
    except InputError as error:
        raise InputError(f"model {name}: {error}") from None


def model_card(
    name: str,
    *,
    alpha: float = 0.0,
    num_classes: int = 400,
    channel_multiple: int = 1,
    layer_alphas: Mapping[str, float] | None = None,
) -> Card:
    """The card of a network's published weights.

    Args:
        name: a key of ``MODELS``.
        alpha: octave ratio; the published result is the dense network's, and in the card for alpha 0 alone.
        num_classes: the names in the card are Kinetics-400's in their published order, for 400 classes alone.
        channel_multiple: what the numbers of low channels are rounded to.
        layer_alphas: of layers with an octave ratio of their own.
    """
    card = get_spec(name).card
    published = card.published if num_classes == 400 else None
    made = replace(
        card,
        name=name,
        alpha=alpha,
        channel_multiple=channel_multiple,
        layer_alphas=dict(layer_alphas or {}),
        num_classes=num_classes,
        class_names=tuple(kinetics400_names()) if published else None,
        published=published,
    )
    return replace(made, published=None) if made.is_octave else made


def read_card(values: Mapping[str, Any], file: str | Path) -> Card:
    """The card of a dictionary that anybody may have written; what an old one lacks is as in the published recipe.

    Raises:
        CheckpointError: naming the file and the value that no card can have.
    """
    try:
        card = Card.from_dict(values)
        if card.name not in MODELS:  # not known, or a network of one's own
            return card
        base = replace(get_spec(card.name).card, published=None)
        return Card.from_dict(values, base)
    except InputError as error:
        raise CheckpointError(f"{file}: in its card, {error}") from None
