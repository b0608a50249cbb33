"""Octave convolution as it is usually written, to measure against: four 3D convolutions, pooling, upsampling."""

import copy

import torch.nn.functional as F
from torch import Tensor, nn

from octvideo.layers import Octave, OctaveConv3d
from octvideo.layers.flat import FlatConv3d


class PlainOctaveConv3d(nn.Module):
    """The octave layer's equations by ``conv3d``, ``avg_pool3d`` and ``interpolate`` (paper, section 3.3).

    Args:
        layer: whose parameters to use, ungrouped, with average pools and nearest upsampling.
    """

    def __init__(self, layer: OctaveConv3d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Octave | Tensor) -> Octave | Tensor:
        layer = self.layer
        high, low = (x, None) if isinstance(x, Tensor) else x
        assert high is not None
        weight, bias = layer.in_order()
        stride, num_high = layer.stride[-1], len(layer.out_split.high)
        parts = (
            {"high": None, "low": None} if bias is None else {"high": bias[:num_high], "low": bias[num_high:]}
        )
        terms = {(term.out, term.into): term for term in layer.plan.terms}

        def conv(x: Tensor, out: str, into: str) -> Tensor:
            strides = (layer.stride[0], 1, 1)
            bias = parts[out] if into == "high" else None
            return F.conv3d(x, terms[out, into].block(weight), bias, strides, layer.padding, layer.dilation)

        near = _pool(high) if stride == 2 else high
        high_out = conv(near, "high", "high")
        low_out = conv(_pool(near), "low", "high") if layer.out_split.low else None
        if low is not None:
            to_high = conv(low, "high", "low")
            high_out = high_out + (F.interpolate(to_high, high_out.shape[-3:]) if stride == 1 else to_high)
            if low_out is not None:
                low_out = low_out + conv(_pool(low) if stride == 2 else low, "low", "low")
        return high_out if low_out is None else Octave(high_out, low_out)


def plain(model: nn.Module) -> nn.Module:
    """A copy of an I3D- or SlowFast-like network, dense or octave, without this package's fast forms."""
    model = copy.deepcopy(model)
    for path, module in list(model.named_modules()):
        if isinstance(module, FlatConv3d):
            module.__class__ = nn.Conv3d  # type: ignore[assignment]
        elif isinstance(module, OctaveConv3d) and not module.is_dense:
            model.set_submodule(path, PlainOctaveConv3d(module))
    return model


def _pool(x: Tensor) -> Tensor:
    return F.avg_pool3d(x, (1, 2, 2), ceil_mode=True, count_include_pad=False)
