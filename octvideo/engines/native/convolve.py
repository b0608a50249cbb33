"""Sums of convolutions with what is behind them, in one pass, on the CPU.

B batch, C channels, T frames, H height, W width.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from octvideo.engines.images import by_pixels, pixel_step
from octvideo.engines.native.build import library, missing, shown, type_name
from octvideo.engines.native.checks import check_clip
from octvideo.engines.native.problem import Convolution, Three
from octvideo.engines.native.weights import pack, rounded_up
from octvideo.errors import InputError


class SumOfConvolutions:
    """``relu(conv(x0, w0) + conv(x1, w1) + bias + other + upsample(up))`` of constant weights, in one pass.

    Args:
        weights: of one or two convolutions, ``(C_out, C_in, kT, kH, kW)``, of one kernel and one C_out.
        bias: ``(C_out,)`` or None.
        stride, padding: in T, H and W.
        backwards: whether the sum is the gradient of the input that the convolutions, with stride 1, have in common:
            weights are ``(C_in, C_out, kT, kH, kW)`` then, and padding is the convolutions' own.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        *,
        backwards: bool = False,
    ) -> None:
        self.dtype = weights[0].dtype
        self.out_channels, _, *self.kernel = weights[0].shape
        self.in_channels = [weight.shape[1] for weight in weights]
        if backwards:
            self.out_channels, self.in_channels = weights[0].shape[1], [weight.shape[0] for weight in weights]
            padding = [k - 1 - p for k, p in zip(self.kernel, padding, strict=True)]
        self.stride, self.padding = tuple(stride), tuple(padding)
        self.numbers = [pack(weight, backwards=backwards) for weight in weights]
        self.bias = torch.zeros(rounded_up(self.out_channels))
        if bias is not None:
            self.bias[: self.out_channels] = bias.detach()
        self._known: dict[torch.Size, tuple[tuple[int, ...], Convolution]] = {}
        self._run = getattr(library(), f"convolve_{type_name(self.dtype)}")

    def __call__(
        self,
        clips: Sequence[Tensor],
        other: Tensor | None = None,
        up: Tensor | None = None,
        *,
        relu: bool = False,
        overwrite: bool = False,
        pool: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The sum, and where ``pool`` asks for them the averages of its 2x2 pixels.

        Clips are ``(B, C, T, H, W)``; they are copied where they do not lie channels-last.

        Args:
            clips: one for each weight, of one size.
            other: added; of the size of the sum.
            up: added, every pixel four times; at half the size, rounded up.
            relu: whether a ReLU is behind the additions.
            overwrite: whether the memory of ``other`` may become that of the sum.
            pool: at the border, averages are of the pixels that exist.

        Raises:
            InputError: another number of clips than of weights, or one of the tensors has another rank, type, device or
                size, none included.
        """
        shape, problem = self._problem(clips)
        low = (*shape[:3], (shape[3] + 1) // 2, (shape[4] + 1) // 2)
        for name, part, size in (("other", other, shape), ("up", up, low)):
            if part is not None:
                check_clip(name, part, self.dtype, size)
        clips = [by_pixels(clip) for clip in clips]
        other, up = (None if part is None else by_pixels(part) for part in (other, up))
        out = other if overwrite and other is not None else _empty(shape, clips[0])
        pooled = _empty(low, clips[0]) if pool else None
        problem.relu, problem.threads = relu, torch.get_num_threads()
        problem.x[:] = [clip.data_ptr() for clip in clips] + [None] * (2 - len(clips))
        problem.x_pixel[:] = [pixel_step(clip) for clip in clips] + [0] * (2 - len(clips))
        problem.out, problem.out_pixel = out.data_ptr(), pixel_step(out)
        if other is not None:
            problem.other, problem.other_pixel = other.data_ptr(), pixel_step(other)
        if up is not None:
            problem.up, problem.up_pixel = up.data_ptr(), pixel_step(up)
        if pooled is not None:
            problem.pooled, problem.pooled_pixel = pooled.data_ptr(), pixel_step(pooled)
        with shown("octvideo::convolve"):
            self._run(ctypes.byref(problem))
        return out, pooled

    def _problem(self, clips: Sequence[Tensor]) -> tuple[tuple[int, ...], Convolution]:
        """The shape of the sum for inputs, and a problem of its own for the caller, all sizes filled in."""
        if len(clips) != len(self.in_channels):
            raise InputError(
                f"{len(clips)} clips were given, allowed are {len(self.in_channels)}: one for each weight"
            )
        x = clips[0]
        for i, (clip, channels) in enumerate(zip(clips, self.in_channels, strict=True)):
            batch, *size = (x.shape[0], *x.shape[2:]) if i else (None, None, None, None)
            check_clip(f"clip {i}", clip, self.dtype, (batch, channels, *size))
        known = self._known.get(x.shape)
        if known is None:
            axes = zip(x.shape[2:], self.padding, self.kernel, self.stride, strict=True)
            out = [(n + 2 * p - k) // s + 1 for n, p, k, s in axes]
            if min(out) < 1:
                raise InputError(f"clip 0 is {tuple(x.shape)}, smaller than the kernel {tuple(self.kernel)}")
            problem = Convolution(
                sources=len(self.numbers), bias=self.bias.data_ptr(),
                batch=x.shape[0], out_channels=self.out_channels,
                frames=out[0], height=out[1], width=out[2],
                in_frames=x.shape[2], in_height=x.shape[3], in_width=x.shape[4],
                kernel=Three(*self.kernel), padding=Three(*self.padding), stride=Three(*self.stride),
            )  # fmt: skip
            for i, (numbers, channels) in enumerate(zip(self.numbers, self.in_channels, strict=True)):
                problem.w[i], problem.channels[i] = numbers.data_ptr(), channels
            known = self._known[x.shape] = ((x.shape[0], self.out_channels, *out), problem)
        return known[0], Convolution.from_buffer_copy(known[1])


def is_supported(
    weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
) -> bool:
    """Whether the kernel does this convolution, here: kernels of one or three pixels that keep the size or halve it."""
    if missing(weight.dtype) is not None or groups > 1 or any(d != 1 for d in dilation):
        return False
    sizes = zip(weight.shape[-2:], padding[-2:], stride[-2:], strict=True)
    return all((k, p) in ((1, 0), (3, 1)) and s in (1, 2) for k, p, s in sizes)


def _empty(shape: Sequence[int], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, memory_format=torch.channels_last_3d)
