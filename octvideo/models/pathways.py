"""pytorchvideo networks that take one ``(B, 3, T, H, W)`` tensor of any crop size.

Nothing here has parameters or a module path of its own, so the state dict stays pytorchvideo's.
"""

import math
from collections.abc import Sequence

import torch
import torch.fx
from pytorchvideo.models.head import ResNetBasicHead
from pytorchvideo.models.net import Net
from torch import Tensor, nn

from octvideo.engines.images import per_image
from octvideo.errors import InputError


class VideoNet(Net):
    """pytorchvideo's ``Net``: blocks one after another, from a clip to logits.

    Shapes: ``(B, 3, T, H, W)`` to ``(B, num_classes)``.
    """

    def __init__(self, blocks: nn.ModuleList) -> None:
        nn.Module.__init__(self)  # Net's own would initialise the weights a second time
        self.blocks = blocks


class SlowFastNet(VideoNet):
    """SlowFast that packs its own pathways: the slow one takes every ``alpha``-th frame's share of the clip.

    Args:
        blocks: the blocks of pytorchvideo's ``create_slowfast``.
        speed_ratio: fast frames for each slow frame (alpha in the SlowFast paper, arXiv 1812.03982).
        to_last: whether the slow frames reach from the clip's first to its last, as PySlowFast's, or are every
            ``speed_ratio``-th, as mmaction2's.

    Shapes: ``(B, 3, T, H, W)`` to ``(B, num_classes)``; T a multiple of ``speed_ratio``.
    """

    def __init__(self, blocks: nn.ModuleList, speed_ratio: int = 4, to_last: bool = True) -> None:
        super().__init__(blocks)
        self.speed_ratio, self.to_last = speed_ratio, to_last

    def forward(self, x: Tensor) -> Tensor:
        # A new list: pytorchvideo's blocks write their outputs into the one they are given.
        return super().forward([slow_frames(x, self.speed_ratio, self.to_last), x])


def slow_frames(x: Tensor, speed_ratio: int, to_last: bool = True) -> Tensor:
    """The slow pathway's ``T // speed_ratio`` frames: from the first to the last, evenly, or every ``speed_ratio``-th.

    Source: ``PackPathway`` in pytorchvideo's SlowFast tutorial and PySlowFast's ``pack_pathway_output``:
    ``linspace(0, T - 1, T // ratio)``, rounded down; mmaction2's ``ResNet3dSlowFast.forward``.
    """
    frames = x.shape[2]
    if frames % speed_ratio:
        raise InputError(f"the clip has {frames} frames; SlowFast needs a multiple of {speed_ratio}")
    if not to_last:
        return x[:, :, ::speed_ratio]
    indices = torch.linspace(0, frames - 1, frames // speed_ratio, device=x.device).long()
    return x.index_select(2, indices)


class HeadPool(nn.AvgPool3d):
    """The head's average pool, with its kernel cut to inputs that are smaller.

    At the training crop and above it is pytorchvideo's own pool (a larger crop gives several positions, of which
    the head takes the mean); below it, it pools everything.
    """

    def forward(self, x: Tensor) -> Tensor:
        return pool_at_most(x, self.kernel_size, self.stride)  # type: ignore[arg-type]


class MeanOverPositions(nn.Module):
    """The head's mean over positions, of which a crop or clip larger than in training has several.

    In evaluation it is the logarithm of the mean of the positions' softmax: logits whose softmax is that mean. The
    published results are so, of PySlowFast's own networks (its `ResNetBasicHead`) and of pytorchvideo's, which it
    measured (`ptv_model_builder.py`). In training it is the mean of the logits; of one position, these themselves.

    Attributes:
        multi_label: whether a clip may be of several classes, so that the sigmoids are averaged, and not the softmax.

    Shapes: ``(B, num_classes, T, H, W)`` to ``(B, num_classes, 1, 1, 1)``.
    """

    multi_label = False

    @classmethod
    def let(cls, network: nn.Module, *, multi_label: bool) -> None:
        """Tells a network whether a clip may be of several classes."""
        for module in network.modules():
            if isinstance(module, cls):
                module.multi_label = multi_label

    def forward(self, x: Tensor) -> Tensor:
        positions = x.shape[2] * x.shape[3] * x.shape[4]
        if positions == 1:
            return x
        if self.training:
            return x.mean((2, 3, 4), keepdim=True)
        if self.multi_label:
            yes, no = (
                torch.logsumexp(nn.functional.logsigmoid(logits), (2, 3, 4), keepdim=True)
                for logits in (x, -x)
            )
            return yes - no
        # In this order, since a probability that is too small for a number has a logarithm.
        return torch.logsumexp(x.log_softmax(1), (2, 3, 4), keepdim=True) + -math.log(positions)


def pool_at_most(x: Tensor, kernel_size: Sequence[int], stride: int | Sequence[int]) -> Tensor:
    """``avg_pool3d`` with no side of the kernel longer than the input's.

    Over space, then over time: torch has no bfloat16 kernel for 3D average pooling on CPUs.
    """
    time, *space = (min(k, size) for k, size in zip(kernel_size, x.shape[-3:], strict=True))
    time_stride, *space_stride = [stride] * 3 if isinstance(stride, int) else stride
    x = per_image(lambda y: nn.functional.avg_pool2d(y, space, space_stride), x)
    pixels = nn.functional.avg_pool2d(x.flatten(3), (time, 1), (time_stride, 1))
    return pixels.unflatten(3, x.shape[3:])


# Both look at sizes, so the trace keeps them as one call.
torch.fx.wrap("slow_frames")
torch.fx.wrap("pool_at_most")


def any_crop(model: Net) -> Net:
    """Make the head take maps of any size, in place; ``AvgPool3d`` is used nowhere else in these networks.

    torchvision's S3D keeps its own rule for several positions, the mean of the logits.
    """
    for path, module in list(model.named_modules()):
        if isinstance(module, ResNetBasicHead):
            module.output_pool = MeanOverPositions()
        if isinstance(module, nn.AvgPool3d):
            model.set_submodule(path, HeadPool(module.kernel_size, module.stride))
    return model
