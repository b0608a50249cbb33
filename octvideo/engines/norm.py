"""What an engine brings for batch norms in training: both frequencies' maps at once, and what is behind them.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class NormedMap(NamedTuple):
    """A map and its rows of a norm.

    Args:
        x: ``(B, C, T, H, W)``, or without T for images.
        weight, bias: ``(C,)``.
        running_mean, running_var: ``(C,)``, which a forward pass changes; or None.
        residual: of the size of ``x``, added behind the norm, in front of the ReLU; or None.
        batches: how many there were, one integer, which a forward pass counts up; of one map of a norm, or None.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    running_mean: Tensor | None = None
    running_var: Tensor | None = None
    residual: Tensor | None = None
    batches: Tensor | None = None


class Statistics(NamedTuple):
    """Of a map, ``(C,)`` each: means, and inverses of the standard deviations; float32."""

    mean: Tensor
    inverse: Tensor


class Norm(Protocol):
    """Batch norms of maps by the statistics of their own pixels, as torch's ``batch_norm`` and ``relu`` have them."""

    def forward(
        self, maps: Sequence[NormedMap], momentum: float, eps: float, *, relu: bool
    ) -> tuple[list[Tensor], list[Statistics]]:
        """The normalised maps, and what ``backward`` needs."""

    def backward(
        self,
        maps: Sequence[NormedMap],
        statistics: Sequence[Statistics],
        outputs: Sequence[Tensor],
        grads: Sequence[Tensor],
        *,
        relu: bool,
    ) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """The gradients of the maps, of all weights and biases, ``(2, sum of C)``, and of the residuals.

        Args:
            maps: without residuals.
            outputs: what ``forward`` gave, if residuals were added, else nothing.
            grads: the gradients of the outputs.
        """
