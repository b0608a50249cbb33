"""The engine ``onednn``: torch's CPU kernels with an addition and a ReLU in them, on weights laid out once.

They are what ``torch.compile`` calls on the CPU, too (``torch.ops.mkldnn``). For inference alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from octvideo.engines.geometry import Geometry
from octvideo.engines.images import as_clip, as_images
from octvideo.engines.interface import Convolutions, Engine, Epilogue, Request, is_plain
from octvideo.engines.reference import finish, flat_kind, flat_sizes, weight_gradient
from octvideo.engines.resample import add_upsampled, add_upsampled_, downsample, needs_gradient, upsample

_packed = torch.ops.mkldnn


class Sum:
    """A sum of convolutions (``octvideo.engines.interface.Sum``): each convolution adds itself to what is there."""

    def __init__(self, convolutions: Convolutions) -> None:
        weights, bias, geometries, transposed = convolutions
        assert not transposed
        biases = [bias, *(None for _ in weights[1:])]
        self.convs = [_Conv(*conv) for conv in zip(weights, biases, geometries, strict=True)]

    def __call__(
        self, inputs: Sequence[Tensor], epilogue: Epilogue, size: Sequence[int]
    ) -> tuple[Tensor, Tensor | None]:
        into, up, relu, is_ours, pool, _ = epilogue  # no sum is transposed here: every share is 1
        if up is not None:
            if into is None:
                into, is_ours = upsample(up, self.convs[0].out_shape(inputs[0])[-2:]), True
            else:
                into, is_ours = (add_upsampled_ if is_ours else add_upsampled)(into, up), True
        for conv, x in zip(self.convs, inputs, strict=True):
            into = conv(x, into, relu and conv is self.convs[-1], is_ours)
            is_ours = True
        assert into is not None
        return into, downsample(into) if pool else None


class _Conv:
    def __init__(self, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> None:
        self.weight, self.bias, self.geometry = weight, bias, geometry
        # Weights in oneDNN's layout and the sizes with them, by the kind of view.
        self._laid_out: dict[str | None, tuple[Any, ...]] = {}

    def out_shape(self, x: Tensor) -> tuple[int, ...]:
        size = self.geometry.out_size(x.shape[2:], self.weight.shape[2:])
        return (len(x), len(self.weight), *size)

    def __call__(self, x: Tensor, into: Tensor | None, relu: bool, overwrite: bool) -> Tensor:
        kind = flat_kind(x, self.weight.shape, self.geometry)
        if into is not None:
            layout = torch.channels_last_3d if into.dim() == 5 else torch.channels_last
            dense = into.contiguous(memory_format=layout)
            into, overwrite = dense, overwrite or dense is not into
        if kind is None:
            return self._run(x, into, relu, overwrite, None)
        images = None if into is None else as_images(into, kind)
        return as_clip(self._run(as_images(x, kind), images, relu, overwrite, kind), kind, x)

    def _run(self, x: Tensor, into: Tensor | None, relu: bool, overwrite: bool, kind: str | None) -> Tensor:
        sizes = self._sizes(x, kind)
        if into is None:
            return _packed._convolution_pointwise(x, *sizes, "relu" if relu else "none", [], "")
        if self.geometry.groups > 1:  # oneDNN adds behind ungrouped convolutions only
            y = _packed._convolution_pointwise(x, *sizes, "none", [], "")
            return finish(y, Epilogue(residual=into, relu=relu))[0]
        behind: tuple[Any, ...] = ("add", 1.0, "relu" if relu else None, [], None)
        if overwrite:
            return _packed._convolution_pointwise_.binary(into, x, *sizes, *behind)
        return _packed._convolution_pointwise.binary(x, into, *sizes, *behind)

    def _sizes(self, x: Tensor, kind: str | None) -> tuple[Any, ...]:
        if kind not in self._laid_out:
            weight, (stride, padding, dilation, groups) = flat_sizes(self.weight, self.geometry, kind)
            packed = _packed._reorder_convolution_weight(
                weight.contiguous(), padding, stride, dilation, groups, x.shape
            )
            self._laid_out = {kind: (packed, self.bias, padding, stride, dilation, groups)}
        return self._laid_out[kind]


def _dtypes() -> tuple[torch.dtype, ...]:
    """What oneDNN convolves here: bfloat16 needs AVX-512."""
    if not torch.backends.mkldnn.is_available():
        return ()
    has_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if has_bfloat16 else (torch.float32,)


_DTYPES = _dtypes()


def _unavailable_reason(request: Request) -> str | None:
    if request.trains:
        return "it is for constant weights"
    if request.x.device.type != "cpu":
        return f"it runs on the CPU; the input is on {request.x.device}"
    if request.x.dtype not in _DTYPES:
        return f"it has no kernels for {request.x.dtype} here"
    if needs_gradient(request.x):
        return "it knows no gradient"
    return None if is_plain(request.x) else "the operations are traced or watched"


ENGINE = Engine("onednn", Sum, weight_gradient, _unavailable_reason)
