"""The engine ``triton``: what it takes, and its kernels as the primitive.

What has a kernel of one pixel in space is bound by memory and runs in octvideo's own kernel, everything behind it
within; what has a larger one is bound by arithmetic, where cuDNN should be the faster: there only the epilogue is ours.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from octvideo.engines import reference
from octvideo.engines.geometry import Geometry
from octvideo.engines.images import by_pixels
from octvideo.engines.interface import (
    Block,
    Convolutions,
    Engine,
    Epilogue,
    Read,
    Request,
    computed_in,
    is_plain,
)
from octvideo.engines.norm import NormedMap, Statistics
from octvideo.engines.resample import needs_gradient
from octvideo.engines.triton.interpreter import runs_on

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Sum:
    """A sum of convolutions (``octvideo.engines.interface.Sum``)."""

    def __init__(self, convolutions: Convolutions) -> None:
        self.convolutions, self.together = convolutions, together([convolutions])

    def __call__(
        self, inputs: Sequence[Tensor], epilogue: Epilogue, size: Sequence[int]
    ) -> tuple[Tensor, Tensor | None]:
        if torch.compiler.is_compiling():
            epilogue = epilogue.shared()  # the operation knows no shares
        if self.together is not None:
            return self.together([[Read(x) for x in inputs]], [epilogue], [size])[0]
        if torch.compiler.is_compiling():  # the compiler makes one launch of what follows, too
            return reference.Sum(self.convolutions)(inputs, epilogue, size)
        y, _ = reference.Sum(self.convolutions._replace(bias=None))(inputs, Epilogue(), size)
        return behind(y, self.convolutions.bias, epilogue)


class Together:
    """One or two sums in one launch (``octvideo.engines.interface.Together``)."""

    def __init__(self, sums: Sequence[Convolutions]) -> None:
        self.sums = [
            convolutions._replace(weights=[as_video(weight) for weight in convolutions.weights])
            for convolutions in sums
        ]

    def __call__(
        self,
        reads: Sequence[Sequence[Read]],
        epilogues: Sequence[Epilogue],
        sizes: Sequence[Sequence[int]],
    ) -> list[tuple[Tensor, Tensor | None]]:
        from octvideo.engines.triton import operator
        from octvideo.engines.triton.problem import out_size

        first = reads[0][0].x
        asked: list[operator.Asked] = []
        for convolutions, of_sum, epilogue, size in zip(self.sums, reads, epilogues, sizes, strict=True):
            clips = [_read_as_video(read) for read in of_sum]
            if (
                not convolutions.transposed
            ):  # the frames follow from the inputs', whatever size the maps are to have
                follows = out_size(convolutions, clips)
                size = (follows[0], *size[-2:]) if size else follows
            asked.append(operator.Asked(convolutions, clips, video_epilogue(epilogue), size))
        compute = operator.write_down if torch.compiler.is_compiling() else operator.compute
        return [as_it_came(found, first) for found in compute(asked, computed_in(first))]


def together(sums: Sequence[Convolutions]) -> Together | None:
    """Sums in one launch: of at most two convolutions each, over single pixels of a map, without a stride in it."""
    geometries = [geometry for convolutions in sums for geometry in convolutions.geometries]
    are_few = max(len(convolutions.weights) for convolutions in sums) <= 2
    return Together(sums) if are_few and _is_pointwise(sums[0].weights[0], geometries) else None


def _is_pointwise(weight: Tensor, geometries: Sequence[Geometry]) -> bool:
    """Whether convolutions are alike, and what the kernels compute: no kernel, stride or padding in space."""
    geometry = geometries[0]
    in_space = max(weight.shape[-2:]) == max(geometry.stride[-2:]) == 1 and not any(geometry.padding[-2:])
    return in_space and geometry.groups == max(geometry.dilation) == 1 and len(set(geometries)) == 1


def behind(y: Tensor, bias: Tensor | None, epilogue: Epilogue) -> tuple[Tensor, Tensor | None]:
    """``relu(y + bias + upsample(up) + residual)`` in the memory of ``y``, and its averages, in one pass."""
    from octvideo.engines.triton.problem import Job, constants, run

    if bias is None and epilogue._replace(overwrite=False) == Epilogue():
        return y, None
    job = Job(by_pixels(as_video(y)), bias, video_epilogue(epilogue))
    run([job], constants(Geometry((1,) * 3, (0,) * 3, (1,) * 3), (1, 1, 1), y.dtype))
    return as_it_came((job.out, job.pooled), y)


def weight_gradients(
    blocks: Sequence[Block], weight: Tensor, geometries: Sequence[Geometry]
) -> Tensor | None:
    """The gradient of a layer's weight in one launch (``octvideo.engines.interface.Engine``)."""
    if not _is_pointwise(weight, geometries):
        return None
    from octvideo.engines.triton.weight_gradients import weight_gradients

    clips = [block._replace(grad=_read_as_video(block.grad), x=_read_as_video(block.x)) for block in blocks]
    return weight_gradients(clips, as_video(weight), geometries[0]).view(weight.shape)


def _read_as_video(read: Read) -> Read:
    return read._replace(x=as_video(read.x))


class BatchNorm:
    """Batch norms in training (``octvideo.engines.norm.Norm``)."""

    def forward(
        self, maps: Sequence[NormedMap], momentum: float, eps: float, *, relu: bool
    ) -> tuple[list[Tensor], list[Statistics]]:
        from octvideo.engines.triton.norm import forward

        outputs, statistics = forward(_maps_as_video(maps), momentum, eps, relu=relu)
        return [y.view(of.x.shape) for y, of in zip(outputs, maps, strict=True)], statistics

    def backward(
        self,
        maps: Sequence[NormedMap],
        statistics: Sequence[Statistics],
        outputs: Sequence[Tensor],
        grads: Sequence[Tensor],
        *,
        relu: bool,
    ) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        from octvideo.engines.triton.norm import backward

        clips = [[as_video(x) for x in some] for some in (outputs, grads)]
        of_maps, of_rows, of_residuals = backward(_maps_as_video(maps), statistics, *clips, relu=relu)
        of_maps = [y.view(of.x.shape) for y, of in zip(of_maps, maps, strict=True)]
        return of_maps, of_rows, [y.view(x.shape) for y, x in zip(of_residuals, outputs, strict=True)]


def _maps_as_video(maps: Sequence[NormedMap]) -> list[NormedMap]:
    return [
        of._replace(x=as_video(of.x), residual=None if of.residual is None else as_video(of.residual))
        for of in maps
    ]


def as_video(x: Tensor) -> Tensor:
    """An image, or its weight, as a clip of one frame."""
    return x if x.dim() == 5 else x.unsqueeze(2)


def video_epilogue(epilogue: Epilogue) -> Epilogue:
    residual, up = (None if x is None else as_video(x) for x in (epilogue.residual, epilogue.up))
    return epilogue._replace(residual=residual, up=up)


def as_it_came(found: tuple[Tensor, Tensor | None], x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Clips, or images where ``x`` is one."""
    out, pooled = found
    if x.dim() == 5:
        return found
    return out.squeeze(2), None if pooled is None else pooled.squeeze(2)


@torch.compiler.assume_constant_result
def _capability(index: int | None) -> tuple[int, int]:
    return torch.cuda.get_device_capability(index)


@torch.compiler.assume_constant_result
@functools.cache
def missing() -> str | None:
    """Why Triton cannot be used here, or None."""
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"Triton cannot be imported: {error}"
    return None


def _unavailable_reason(request: Request) -> str | None:
    x, weight, _, geometries, trains, transposed = request
    if x.device.type != runs_on():
        return f"it runs on CUDA; the input is on {x.device}"
    if (reason := missing()) is not None:
        return reason
    if x.is_cuda and _capability(x.device.index) < (8, 0):
        return "it is for GPUs that multiply bfloat16: compute capability 8.0 and later"
    if computed_in(x) not in _DTYPES or weight.dtype not in _DTYPES:
        return f"it has no kernels for {computed_in(x)} and weights of {weight.dtype}"
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        return f"the input is {x.dtype}, the weight {weight.dtype}"
    if not (is_plain(x) or torch.compiler.is_compiling()):
        return "the operations are traced or watched"
    if any(geometry.groups > 1 for geometry in geometries):
        return "it has no groups"
    if transposed and any(step > 1 for geometry in geometries for step in geometry.stride):
        return "it has no transposed convolution with a stride"
    if trains and torch.are_deterministic_algorithms_enabled():
        return "its weight gradients are added in no fixed order"
    return "it knows no gradient" if needs_gradient(x) and not trains else None


ENGINE = Engine(
    "triton",
    Sum,
    reference.weight_gradient,
    _unavailable_reason,
    together=together,
    weight_gradients=weight_gradients,
    norm=BatchNorm(),
    is_asked_for=True,
    has_operator=True,
)
