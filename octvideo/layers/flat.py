"""Dense convolutions by the engines, as octave ones are: a plan of one term."""

from typing import Any, cast

from torch import Tensor, nn

from octvideo.engines.geometry import Geometry
from octvideo.layers.gradient import convolve
from octvideo.layers.plan import Plan
from octvideo.layers.term import Term


class FlatConv3d(nn.Conv3d):
    """``nn.Conv3d`` with a (1, k, k) or (k, 1, 1) kernel, by the engine that is fastest for it.

    The same parameters and, to rounding, the same result. ``(B, C, T, H, W)`` in and out.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.plan = dense_plan(self)

    def forward(self, x: Tensor) -> Tensor:
        if self.plan.terms[0].geometry != geometry_of(self):  # the stride of a layer may be set anew
            self.plan = dense_plan(self)
        return convolve(self.plan, {"high": x}, self.weight, self.bias)["high"]


def flat_convs(model: nn.Module) -> nn.Module:
    """Make a ``FlatConv3d`` of every ``nn.Conv3d`` over space or time alone, in place; no parameter changes."""
    for module in model.modules():
        if type(module) is not nn.Conv3d or not is_zero_padded(module):
            continue
        assert not isinstance(module.padding, str)
        in_space = module.kernel_size[0] == module.stride[0] == 1 and module.padding[0] == 0
        in_time = module.kernel_size[1:] == module.stride[1:] == (1, 1) and module.padding[1:] == (0, 0)
        if in_space or in_time:
            module.__class__ = FlatConv3d
            cast(FlatConv3d, module).plan = dense_plan(module)
    return model


def is_zero_padded(conv: nn.Conv2d | nn.Conv3d) -> bool:
    """Whether a convolution pads with zeros, by numbers of pixels: what the engines know."""
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def dense_plan(conv: nn.modules.conv._ConvNd) -> Plan:
    """The plan of a dense convolution that pads with zeros: one term."""
    rows, columns = range(conv.weight.shape[0]), range(conv.weight.shape[1])
    return Plan((Term("high", "high", rows, columns, geometry_of(conv)),), {"high": rows})


def geometry_of(conv: nn.modules.conv._ConvNd) -> Geometry:
    """Of a convolution that pads with zeros."""
    return Geometry(conv.stride, cast(tuple[int, ...], conv.padding), conv.dilation, conv.groups)
