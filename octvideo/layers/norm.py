"""Batch normalisation of octave tensors, and of dense ones, by the dense layer's own parameters and statistics.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from octvideo.engines import choose_norm
from octvideo.engines.interface import is_traced
from octvideo.engines.norm import Norm
from octvideo.engines.resample import needs_gradient
from octvideo.layers.normed import normalise
from octvideo.layers.octave import ChannelSplit, Octave, split_channels

Channels = slice | Tensor

# Called with a norm, a part of its input and the rows of that part, before they are normalised: hooks of the module do
# not see these calls.
watchers: list[Callable[[_BatchNorm, Tensor, Channels], None]] = []


def batch_norm(
    norm: _BatchNorm,
    maps: Sequence[Tensor],
    rows: Sequence[Channels],
    relu: nn.ReLU | None = None,
    residuals: Sequence[Tensor] = (),
) -> list[Tensor]:
    """Normalise each map with its rows of one dense norm's parameters and running statistics.

    Each has statistics of its own pixels. ``norm`` may have become a ``SyncBatchNorm`` meanwhile.

    Args:
        norm: the dense layer, over all channels.
        maps: high ``(B, C_high, T, H, W)`` and low ``(B, C_low, T, ceil(H/2), ceil(W/2))``; or a dense one alone.
        rows: the dense channels of each.
        relu: the ReLU that follows, if one does: an engine may have one kernel for both.
        residuals: what is added to each in front of the ReLU, if anything is; for one kernel, too.
    """
    engine = _engine(norm, maps, rows, residuals)
    if engine is None and len(maps) == 1:  # hooks of the module see this one
        outputs = [norm(*maps)]
    else:
        for x, of_map in zip(maps, rows, strict=True):
            for watch in watchers:
                watch(norm, x, of_map)
        if engine is not None:
            return _by_engine(engine, norm, maps, residuals, relu=relu is not None)
        weights_and_biases = _cut(norm.weight, norm.bias, rows)
        outputs = [
            _part(norm, x, of_map, *of_rows, count=number == 0)
            for number, (x, of_map, of_rows) in enumerate(zip(maps, rows, weights_and_biases, strict=True))
        ]
    if residuals:
        outputs = [y + residual for y, residual in zip(outputs, residuals, strict=True)]
    return outputs if relu is None else [relu(y) for y in outputs]


def _engine(
    norm: _BatchNorm, maps: Sequence[Tensor], rows: Sequence[Channels], residuals: Sequence[Tensor]
) -> Norm | None:
    """The engine that normalises the maps at once by their own statistics, if there is one."""
    few = any(x.numel() <= x.shape[1] for x in maps)  # torch says what is wrong with one pixel
    if not norm.training or norm.weight is None or isinstance(norm, nn.SyncBatchNorm) or few:
        return None
    fits = all((x.shape, x.dtype) == (y.shape, y.dtype) for x, y in zip(maps, residuals, strict=False))
    return choose_norm(maps[0], norm.weight) if fits and _are_all(rows, norm.weight) else None


def _by_engine(
    engine: Norm, norm: _BatchNorm, maps: Sequence[Tensor], residuals: Sequence[Tensor], *, relu: bool
) -> list[Tensor]:
    running = None if norm.running_mean is None else (norm.running_mean, cast(Tensor, norm.running_var))
    # Counted by the engine, unless the count is needed here, for the mean over all batches.
    batches = None if norm.momentum is None else norm.num_batches_tracked
    momentum = _momentum(norm, count=batches is None)
    return normalise(
        engine, maps, norm.weight, norm.bias, running, momentum, norm.eps,
        batches=batches, residuals=residuals, relu=relu,
    )  # fmt: skip


def _are_all(rows: Sequence[Channels], weight: Tensor) -> bool:
    """Whether the channels of the maps, one map after the other, are those of a parameter, in its order."""
    stop = 0
    for of_map in rows:
        if not isinstance(of_map, slice) or of_map.start != stop:
            return False
        stop = of_map.stop
    return stop == len(weight)


def _cut(
    weight: Tensor | None, bias: Tensor | None, rows: Sequence[Channels]
) -> list[tuple[Tensor | None, Tensor | None]]:
    """Each map's rows of both parameters.

    By splits where they follow each other: slices cost a zero-filled gradient each.
    """
    if weight is None or bias is None:
        return [(None, None) for _ in rows]
    if not _are_all(rows, weight):
        return [(weight[of_map], bias[of_map]) for of_map in rows]
    counts = [of_map.stop - of_map.start for of_map in rows]  # type: ignore[union-attr]
    if is_traced() or not (needs_gradient(weight) or needs_gradient(bias)):
        parts = (*weight.split(counts), *bias.split(counts))
    else:
        parts = _Split.apply(weight, bias, counts)
    return list(zip(parts[: len(rows)], parts[len(rows) :], strict=True))


class _Split(torch.autograd.Function):
    """Two parameters split alike, whose gradients are put together by one launch instead of two."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, counts: list[int]) -> tuple[Tensor, ...]:  # type: ignore[override]
        ctx.set_materialize_grads(True)
        return *weight.split(counts), *bias.split(counts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        both = torch.cat(grads)
        return *both.tensor_split(2), None


def _part(
    norm: _BatchNorm, x: Tensor, rows: Channels, weight: Tensor | None, bias: Tensor | None, *, count: bool
) -> Tensor:
    if norm.running_mean is None or norm.running_var is None:
        mean = var = None
    else:
        mean, var = norm.running_mean[rows], norm.running_var[rows]
    if isinstance(norm, nn.SyncBatchNorm) and norm.training:
        # Its forward gathers the statistics of all ranks: run it, on these rows. The batch is counted once.
        seen = norm.num_batches_tracked
        tracked = seen if count or seen is None else seen.clone()
        state = {
            "weight": weight,
            "bias": bias,
            "running_mean": mean,
            "running_var": var,
            "num_batches_tracked": tracked,
        }
        rows_only = {name: value for name, value in state.items() if value is not None}
        y = torch.func.functional_call(norm, rows_only, (x,))
    else:
        use_batch = norm.training or mean is None
        momentum = _momentum(norm, count=count)
        y = F.batch_norm(x, mean, var, weight, bias, use_batch, momentum, norm.eps)
    if norm.training and isinstance(rows, Tensor) and mean is not None and var is not None:
        # Rows taken by number are a copy, so their new statistics go back by hand.
        with torch.no_grad():
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.index_copy_(0, rows, mean)
            norm.running_var.index_copy_(0, rows, var)
    return y


def _momentum(norm: _BatchNorm, *, count: bool) -> float:
    """The weight of this batch in the running statistics; ``count`` it, if it is one more."""
    momentum = norm.momentum
    if norm.training and norm.num_batches_tracked is not None:
        if count:
            norm.num_batches_tracked.add_(1)
        if momentum is None:  # cumulative average
            momentum = 1.0 / float(norm.num_batches_tracked)
    return 0.0 if momentum is None else momentum


def as_rows(indices: tuple[int, ...]) -> Channels:
    """Channel numbers as a slice where they are one run, else as an index tensor."""
    if indices == tuple(range(indices[0], indices[0] + len(indices))):
        return slice(indices[0], indices[0] + len(indices))
    return torch.tensor(indices)


class _OctaveBatchNorm:
    """Forward of the octave norms: the dense layer for a tensor, two groups of rows for an ``Octave``."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        alpha: float,
    ) -> None:
        # Next in line is nn.BatchNorm2d or nn.BatchNorm3d.
        super().__init__(num_features, eps, momentum, affine, track_running_stats)  # type: ignore[call-arg]
        self.alpha = alpha
        self.split = ChannelSplit.high_first(*split_channels(num_features, alpha))

    def forward(self, x: Octave | Tensor) -> Octave | Tensor:
        if isinstance(x, Tensor):
            return super().forward(x)  # type: ignore[misc]
        if x.high is None or x.low is None:
            part = x.low if x.high is None else x.high
            y = super().forward(part)  # type: ignore[misc]
            return Octave(None, y) if x.high is None else Octave(y, None)
        rows = as_rows(self.split.high), as_rows(self.split.low)
        return Octave(*batch_norm(self, (x.high, x.low), rows))  # type: ignore[arg-type]


class OctaveBatchNorm3d(_OctaveBatchNorm, nn.BatchNorm3d):  # type: ignore[misc]
    """``nn.BatchNorm3d`` for an ``Octave`` (or, as ever, a tensor), high channels first.

    Args:
        num_features: channels of both frequencies together.
        alpha: share of them that is low-frequency, in [0, 1].
        eps, momentum, affine, track_running_stats: as for ``nn.BatchNorm3d``.

    Raises:
        ValueError: alpha outside [0, 1].
    """


class OctaveBatchNorm2d(_OctaveBatchNorm, nn.BatchNorm2d):  # type: ignore[misc]
    """The image sibling of ``OctaveBatchNorm3d``."""
