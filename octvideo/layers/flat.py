"""Dense convolutions over space or over time alone, run by 2D kernels.

B batch, C channels, T frames, H height, W width.
"""

from torch import Tensor, nn

from octvideo.layers.conv import convolve


class FlatConv3d(nn.Conv3d):
    """``nn.Conv3d`` with a (1, k, k) or (k, 1, 1) kernel, as a 2D convolution where the input is channels-last.

    The same parameters and, to rounding, the same result; the 2D kernels are faster. ``(B, C, T, H, W)`` in and
    out.
    """

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)  # type: ignore[arg-type]


def flat_convs(model: nn.Module) -> nn.Module:
    """Let every ``nn.Conv3d`` over space or time alone run in 2D, in place; no parameter changes."""
    for module in model.modules():
        if type(module) is not nn.Conv3d or not is_zero_padded(module):
            continue
        assert not isinstance(module.padding, str)
        in_space = module.kernel_size[0] == module.stride[0] == 1 and module.padding[0] == 0
        in_time = module.kernel_size[1:] == module.stride[1:] == (1, 1) and module.padding[1:] == (0, 0)
        if in_space or in_time:
            module.__class__ = FlatConv3d
    return model


def is_zero_padded(conv: nn.Conv2d | nn.Conv3d) -> bool:
    """Whether a convolution pads with zeros, by numbers of pixels: what the fast forms know."""
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
