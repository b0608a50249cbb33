"""What an engine brings: one primitive, a sum of convolutions with its epilogue, and the gradient of a weight.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from octvideo.engines.geometry import Geometry
from octvideo.engines.norm import Norm


class Convolutions(NamedTuple):
    """Convolutions whose results are added up.

    Args:
        weights: ``(C_out, C_in / groups, kT, kH, kW)``, of one kernel; without kT for images.
        bias: ``(C_out,)`` or None.
        geometries: one for each weight.
        transposed: whether the sum is the gradient of the input that the convolutions have in common, from those of
            their outputs.
    """

    weights: Sequence[Tensor]
    bias: Tensor | None
    geometries: Sequence[Geometry]
    transposed: bool = False


class Epilogue(NamedTuple):
    """What follows the convolutions in a sum.

    Args:
        residual: added; of the size of the sum.
        up: added, every pixel four times; at half the size, rounded up.
        relu: whether a ReLU is behind the additions.
        overwrite: whether the memory of ``residual`` may become that of the sum.
        pool: whether the averages of its 2x2 pixels are asked for, too; at an odd border, of the pixels that exist.
        share: what ``up`` is multiplied by: a quarter, where it is the gradient of an average over four pixels.
    """

    residual: Tensor | None = None
    up: Tensor | None = None
    relu: bool = False
    overwrite: bool = False
    pool: bool = False
    share: float = 1.0

    def shared(self) -> "Epilogue":
        """The same with ``up`` multiplied, for engines that add it as it is; its memory is given up."""
        if self.up is None or self.share == 1:
            return self
        return self._replace(up=self.up.mul_(self.share), share=1.0)


class Sum(Protocol):
    """``relu(conv(x0, w0) + conv(x1, w1) + … + bias + upsample(up) + residual)`` of given weights."""

    def __call__(
        self, inputs: Sequence[Tensor], epilogue: Epilogue, size: Sequence[int]
    ) -> tuple[Tensor, Tensor | None]:
        """The sum ``(B, C_out, T, H, W)``, and its averages where they are asked for.

        Args:
            inputs: one for each weight, of one size: ``(B, C_in, T, H, W)``, or without T for images.
            epilogue: what follows.
            size: of the sum in T, H and W, where it is transposed.
        """


class Read(NamedTuple):
    """An input, and how a sum reads it.

    Args:
        x: ``(B, C, T, H, W)``, or without T for images.
        scale: 1; or 0.5 where its averages over 2x2 pixels are convolved, sums where the convolution is transposed; or
            2 where what the convolution gives is repeated, divided by what it averages where that is transposed.
    """

    x: Tensor
    scale: float = 1


class Together(Protocol):
    """Sums of given weights in one launch; the second has half the height and width of the first, rounded up."""

    def __call__(
        self,
        reads: Sequence[Sequence[Read]],
        epilogues: Sequence[Epilogue],
        sizes: Sequence[Sequence[int]],
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Of each sum what ``Sum`` gives, from one ``Read`` for each of its weights.

        Args:
            sizes: of each sum in T, H and W, or nothing where it follows from the inputs.
        """


class Block(NamedTuple):
    """A block of a layer's weight, and what its gradient is made of.

    Args:
        rows, columns: of the weight.
        grad: the gradient of an output; of scale 0.5 where its sums over 2x2 pixels are meant.
        x: the input; of scale 0.5 where its averages over 2x2 pixels are meant.
    """

    rows: range
    columns: range
    grad: Read
    x: Read


class Request(NamedTuple):
    """What an engine is asked whether it can do it.

    Args:
        x: the input, or one of several.
        weight: of the layer.
        rows: how many output channels each convolution has.
        geometries: one for each convolution.
        trains: whether weights change from call to call, and their gradient is asked for later.
        transposed: whether it is the gradient of an input.
    """

    x: Tensor
    weight: Tensor
    rows: Sequence[int]
    geometries: Sequence[Geometry]
    trains: bool
    transposed: bool = False


@dataclass(frozen=True)
class Engine:
    """One way to compute.

    Args:
        name: what ``octvideo.engine(name)`` calls it.
        sum: prepares a ``Sum``: a layer whose weights are constant does it once.
        weight_gradient: ``(grad, x, out, geometry)``: writes a convolution's weight gradient into ``out``.
        unavailable_reason: why it cannot do what is asked for, or None.
        is_one_pass: whether a sum of several convolutions and all of its epilogue are one pass over memory; where they
            are not, plans share convolutions among outputs instead.
        together: prepares one or two sums that read their inputs at other sizes, too; None where it cannot do these.
        weight_gradients: ``(blocks, weight, geometries)``: the gradient of a whole weight from that of its blocks at
            once, zero elsewhere; None where it cannot do these.
        norm: batch norms in training, where it has kernels for them.
        is_asked_for: whether it is taken only where a person names it.
        has_operator: whether what it does at once is an operation that tracers may write down.
    """

    name: str
    sum: Callable[[Convolutions], Sum]
    weight_gradient: Callable[[Tensor, Tensor, Tensor, Geometry], None]
    unavailable_reason: Callable[[Request], str | None]
    is_one_pass: bool = False
    together: Callable[[Sequence[Convolutions]], Together | None] | None = None
    weight_gradients: Callable[[Sequence[Block], Tensor, Sequence[Geometry]], Tensor | None] | None = None
    norm: Norm | None = None
    is_asked_for: bool = False
    has_operator: bool = False


def computed_in(x: Tensor) -> torch.dtype:
    """The type of products and sums: autocast's where that is on."""
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if casts else x.dtype


def is_traced() -> bool:
    """Whether somebody writes the operations down, to run or to differentiate them later: they have to be torch's."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    )


def is_plain(x: Tensor) -> bool:
    """Whether code that torch knows nothing of may read this tensor's memory: nothing traces, counts or fakes it."""
    return (
        type(x) in (Tensor, torch.nn.Parameter) and not is_traced() and not _get_current_dispatch_mode_stack()
    )
