"""Channels-last clips as images, without a copy, for the 2D kernels.

B batch, C channels, T frames, H height, W width. The 2D kernels are faster than the 3D ones, and CPUs have no
bfloat16 kernel for 3D average pooling.
"""

from collections.abc import Callable

from torch import Tensor, channels_last_3d
from torch._C._functorch import is_batchedtensor


def is_channels_last(x: Tensor) -> bool:
    """Whether ``(B, C, T, H, W)`` lies in memory as B T H W C; of what ``torch.vmap`` batches nobody knows."""
    if is_batchedtensor(x):
        return False
    return x.is_contiguous(memory_format=channels_last_3d) and not x.is_contiguous()


def as_images(x: Tensor, kind: str) -> Tensor:
    """A channels-last clip as ``(B * T, C, H, W)`` (space) or ``(B, C, T, H * W)`` (time), without a copy."""
    return x.transpose(1, 2).flatten(0, 1) if kind == "space" else x.flatten(3)


def as_clip(y: Tensor, kind: str, x: Tensor) -> Tensor:
    """The clip ``(B, C, T, H, W)`` again: what the convolution made of the images of ``x``."""
    if kind == "space":
        return y.view(x.shape[0], x.shape[2], *y.shape[1:]).transpose(1, 2)
    return y.view(*y.shape[:3], *x.shape[3:])


def per_image(op: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a channel-wise image operation to every frame of ``(B, C, T, H, W)`` or to ``(B, C, H, W)``."""
    if x.dim() == 4:
        return op(x)
    if x.stride(1) == 1:  # channels-last, or some channels of such a tensor
        return as_clip(op(as_images(x, "space")), "space", x)
    b, c, t, h, w = x.shape
    # The operation treats every channel alike, so (channel, frame) pairs can stand for channels.
    y = op(x.reshape(b, c * t, h, w))
    return y.view(b, c, t, *y.shape[2:])


def by_pixels(x: Tensor) -> Tensor:
    """``x`` lying in memory as B T H W C, with or without other channels between the pixels."""
    if x.is_contiguous(memory_format=channels_last_3d):
        return x
    step, (_, _, frames, height, width) = pixel_step(x), x.shape
    expected = (step * width * height * frames, 1, step * width * height, step * width, step)
    if all(n == 1 or s == e for n, s, e in zip(x.shape, x.stride(), expected, strict=True)):
        return x
    return x.contiguous(memory_format=channels_last_3d)


def pixel_step(x: Tensor) -> int:
    """Numbers from one pixel to the next."""
    if x.is_contiguous(memory_format=channels_last_3d):
        return x.shape[1]
    # The stride of an axis of one pixel says nothing.
    return next((x.stride(axis) for axis in (4, 3, 2, 0) if x.shape[axis] > 1), x.shape[1])
