"""What pytorchvideo's modules need before torch.fx and torch.compile take them."""

from pytorchvideo.layers.swish import Swish
from torch import nn

_SIZES = ("kernel_size", "stride", "padding", "dilation")


def repair(model: nn.Module) -> nn.Module:
    """Change ``model`` in place, and return it: no parameter, no path and no result is different.

    - numpy's integers in strides become Python's, which torch.compile wants;
    - ``Swish``, an autograd function of its own that cannot be traced, becomes torch's ``SiLU``.
    """
    for path, module in list(model.named_modules()):
        if isinstance(module, Swish):
            model.set_submodule(path, nn.SiLU())
        elif isinstance(module, nn.Conv2d | nn.Conv3d | nn.MaxPool2d | nn.MaxPool3d | nn.AvgPool3d):
            for name in _SIZES:
                value = getattr(module, name, None)
                if isinstance(value, tuple | list):
                    setattr(module, name, tuple(int(v) for v in value))
    return model
