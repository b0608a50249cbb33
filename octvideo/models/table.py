"""The networks by name, each with the clip that it was published with."""

from collections.abc import Callable
from dataclasses import dataclass

from pytorchvideo.models import hub
from pytorchvideo.models.head import create_res_basic_head
from pytorchvideo.models.net import Net
from pytorchvideo.models.resnet import create_bottleneck_block, create_res_stage
from pytorchvideo.models.stem import create_res_basic_stem
from torch import nn

from octvideo.layers.flat import flat_convs
from octvideo.models.nonlocal_i3d import i3d_nl_r50
from octvideo.models.octavize import octavize
from octvideo.models.pathways import SlowFastNet, VideoNet, any_crop
from octvideo.models.repair import repair


@dataclass(frozen=True)
class ModelSpec:
    """A network and its clip.

    Args:
        build: makes the dense network for a number of classes.
        num_frames: frames of a clip.
        frame_stride: from one frame of a clip to the next, in frames at 30 a second.
        crop: height and width in training, in pixels.
    """

    build: Callable[[int], nn.Module]
    num_frames: int
    frame_stride: int
    crop: int

    @property
    def input_shape(self) -> tuple[int, int, int, int, int]:
        """``(1, 3, T, H, W)``."""
        return 1, 3, self.num_frames, self.crop, self.crop


def _ready(net: Net) -> Net:
    return any_crop(flat_convs(repair(net)))  # type: ignore[arg-type]


def _single_path(builder: Callable[..., Net]) -> Callable[[int], nn.Module]:
    return lambda num_classes: VideoNet(_ready(builder(model_num_class=num_classes)).blocks)


def _slowfast(builder: Callable[..., Net]) -> Callable[[int], nn.Module]:
    return lambda num_classes: SlowFastNet(_ready(builder(model_num_class=num_classes)).blocks)


def _i3d_tiny(*, model_num_class: int) -> Net:
    """A small sibling of I3D R50: one bottleneck block a stage, for the demo and for tests."""
    width = 16
    blocks: list[nn.Module] = [
        create_res_basic_stem(
            in_channels=3,
            out_channels=width,
            conv_kernel_size=(5, 7, 7),
            conv_stride=(1, 2, 2),
            conv_padding=(2, 3, 3),
            pool=nn.MaxPool3d,
            pool_kernel_size=(1, 3, 3),
            pool_stride=(1, 2, 2),
            pool_padding=(0, 1, 1),
        )
    ]
    dim_in, dim_out = width, 4 * width
    for stage in range(4):
        blocks.append(
            create_res_stage(
                depth=1,
                dim_in=dim_in,
                dim_inner=dim_out // 4,
                dim_out=dim_out,
                bottleneck=create_bottleneck_block,
                conv_a_kernel_size=(3, 1, 1),
                conv_a_stride=(1, 1, 1),
                conv_a_padding=(1, 0, 0),
                conv_b_stride=(1, 1, 1) if stage == 0 else (1, 2, 2),
            )
        )
        dim_in, dim_out = dim_out, 2 * dim_out
    blocks.append(
        create_res_basic_head(
            in_features=dim_in, out_features=model_num_class, pool=nn.AdaptiveAvgPool3d, dropout_rate=0.0
        )
    )
    return Net(blocks=nn.ModuleList(blocks))


MODELS: dict[str, ModelSpec] = {
    "i3d_tiny": ModelSpec(_single_path(_i3d_tiny), num_frames=8, frame_stride=2, crop=64),
    "c2d_r50": ModelSpec(_single_path(hub.c2d_r50), num_frames=8, frame_stride=8, crop=224),
    "i3d_r50": ModelSpec(_single_path(hub.i3d_r50), num_frames=8, frame_stride=8, crop=224),
    "i3d_nl_r50": ModelSpec(_single_path(i3d_nl_r50), num_frames=8, frame_stride=8, crop=224),
    "slow_r50": ModelSpec(_single_path(hub.slow_r50), num_frames=8, frame_stride=8, crop=224),
    "slowfast_r50": ModelSpec(_slowfast(hub.slowfast_r50), num_frames=32, frame_stride=2, crop=224),
    "slowfast_r101": ModelSpec(_slowfast(hub.slowfast_r101), num_frames=32, frame_stride=2, crop=224),
    "csn_r101": ModelSpec(_single_path(hub.csn_r101), num_frames=32, frame_stride=2, crop=224),
    "r2plus1d_r50": ModelSpec(_single_path(hub.r2plus1d_r50), num_frames=16, frame_stride=4, crop=224),
    "x3d_s": ModelSpec(_single_path(hub.x3d_s), num_frames=13, frame_stride=6, crop=160),
    "x3d_m": ModelSpec(_single_path(hub.x3d_m), num_frames=16, frame_stride=5, crop=224),
}


def get_spec(name: str) -> ModelSpec:
    """The spec of a name.

    Raises:
        ValueError: no such network.
    """
    if name not in MODELS:
        raise ValueError(f"model is {name!r}; it must be one of {', '.join(MODELS)}")
    return MODELS[name]


def create_model(name: str, *, alpha: float = 0.0, num_classes: int = 400) -> nn.Module:
    """A network for clips ``(B, 3, T, H, W)`` of any crop size, giving logits ``(B, num_classes)``.

    Its state dict has the keys and shapes of pytorchvideo's network of that name, whatever alpha.

    Args:
        name: a key of ``MODELS``.
        alpha: share of low-frequency channels, in [0, 1); 0 is the dense network.
        num_classes: at least 1.

    Raises:
        ValueError: unknown name, alpha or num_classes out of range, an alpha that the network cannot be split by.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; it must be at least 1")
    model = get_spec(name).build(num_classes)
    try:
        return octavize(model, alpha) if alpha else model
    except ValueError as error:
        raise ValueError(f"model {name}: {error}") from None
