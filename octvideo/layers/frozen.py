"""Convolutions for inference, dense and octave: weights laid out once, and what is behind the layer within its sums.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from octvideo.engines import ONEDNN, TORCH, choose, choose_to_trace
from octvideo.engines.interface import Engine, Epilogue, is_traced
from octvideo.engines.reference import finish
from octvideo.engines.resample import downsample, needs_gradient
from octvideo.layers.conv import OctaveConv2d, OctaveConv3d
from octvideo.layers.flat import dense_plan
from octvideo.layers.sums import Maps, PlannedSums
from octvideo.layers.together import JointSums, prepare


class FrozenConv(nn.Module):
    """``relu(convolution + residual)`` for each output of a layer with constant weights; both may be left out.

    Args:
        layer: a dense convolution padded with zeros, or an octave one with high channels in and out.

    Attributes:
        relu: outputs ("high", "low") that end with a ReLU.
        overwrites: those whose residual's memory may become the output's: nothing reads it afterwards.
        gives_pooled: whether the pooled high output is one more output.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        weight, bias = layer.weight, layer.bias
        if isinstance(layer, OctaveConv2d | OctaveConv3d):
            weight, bias = layer.in_order()
            self.plan = layer.plan
        else:
            self.plan = dense_plan(layer)
        layout = torch.channels_last_3d if weight.dim() == 5 else torch.channels_last
        self.register_buffer("weight", weight.detach().contiguous(memory_format=layout))
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.outputs = tuple(self.plan.channels)
        self.relu: tuple[str, ...] = ()
        self.overwrites: tuple[str, ...] = ()
        self.gives_pooled = False
        self._sums: dict[Any, PlannedSums | JointSums] = {}

    @property
    def takes_pooled(self) -> bool:
        """Whether the layer reads its high input pooled."""
        return any(term.into == "high" and term.before < 1 for term in self.plan.terms)

    def forward(
        self,
        high: Tensor,
        low: Tensor | None = None,
        residual_high: Tensor | None = None,
        residual_low: Tensor | None = None,
        *,
        pooled: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """The outputs, and the pooled high one if it is asked for; alone, an output is a tensor.

        Args:
            high: ``(B, C_high, T, H, W)``, or without T for images.
            low: ``(B, C_low, T, ceil(H/2), ceil(W/2))``, or None.
            residual_high, residual_low: added to the outputs; they may broadcast.
            pooled: ``downsample(high)``, where it is there already.
        """
        inputs = {"high": high} if low is None else {"high": high, "low": low}
        given = {"high": residual_high, "low": residual_low}
        residuals = {name: given[name] for name in self.outputs}
        sizes = {"high": high.shape[2:]} if any(term.after > 1 for term in self.plan.terms) else {}
        sums, maps = self._prepared(high), Maps(inputs, pooled)
        if self._fits(high, residuals):
            pool = ("high",) if self.gives_pooled else ()
            found = sums(maps, sizes, residuals, self.relu, self.overwrites, pool)
        else:  # a residual broadcasts
            found = {
                name: finish(y, Epilogue(residuals[name], relu=name in self.relu))[0]
                for name, y in sums(maps, sizes).items()
            }
            if self.gives_pooled:
                found["pooled"] = downsample(found["high"])
        outputs = tuple(found[name] for name in (*self.outputs, "pooled") if name in found)
        return outputs if outputs[1:] else outputs[0]

    def engine(self, x: Tensor) -> Engine:
        """What computes for this high input."""
        if needs_gradient(x):
            return TORCH
        request = self.plan.request(x, self.weight, trains=False)
        return choose_to_trace(request) if is_traced() else choose(request)

    def _prepared(self, x: Tensor) -> PlannedSums | JointSums:
        engine = self.engine(x)
        key = engine.name, self.weight.dtype, self.weight.device
        if key not in self._sums:
            plan = self.plan.averaging_behind(self.weight.shape[2:]) if engine is ONEDNN else self.plan
            sums = prepare(plan, self.weight, self.bias, engine)
            if is_traced():
                return sums
            self._sums = {key: sums}
        return self._sums[key]

    def _fits(self, high: Tensor, residuals: Mapping[str, Tensor | None]) -> bool:
        """Whether what is added has the outputs' shapes, and does not broadcast."""
        if all(residual is None for residual in residuals.values()):
            return True
        halved = {term.before for term in self.plan.terms if (term.out, term.into) == ("high", "high")}
        size = high.shape[2:] if 1 in halved else (*high.shape[2:-2], *(-(-n // 2) for n in high.shape[-2:]))
        size = self.plan.terms[0].geometry.out_size(size, self.weight.shape[2:])
        low = (*size[:-2], *(-(-n // 2) for n in size[-2:]))
        expected = {
            name: (high.shape[0], len(rows), *(size if name == "high" else low))
            for name, rows in self.plan.channels.items()
        }
        return all(r is None or tuple(r.shape) == expected[name] for name, r in residuals.items())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sums": {}}  # laid-out weights cannot be copied or saved
