"""The networks that are compared: Inception-I3D on its Kinetics-400 weights, dense, and octave on the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from torch import nn

from octvideo.models import count_macs, create_model

ALPHAS = (0.0, 0.125, 0.25, 0.5)
MODEL = "i3d_inception"
# Takes what goes into the last stage, and nothing else: the pool of its first block's fourth branch.
LAST_STAGE = "features.mixed_5b.branch_3.0"


@dataclass(frozen=True)
class Network:
    """A network by its octave ratio; 0 is the dense one.

    Attributes:
        weights: file, or name of `octvideo weights`.
    """

    alpha: float
    weights: str

    def __str__(self) -> str:
        return f"octave, alpha {self.alpha:g}" if self.alpha else "dense"

    @property
    def name(self) -> str:
        return f"alpha{self.alpha:g}"

    def build(self) -> nn.Module:
        """In evaluation."""
        return create_model(MODEL, alpha=self.alpha, checkpoint=self.weights).eval()

    def last_stage(self) -> nn.Module:
        """What is behind LAST_STAGE, `(B, 832, T, H, W)` to logits; an octave network's is dense, too."""
        network = create_model(MODEL, checkpoint=self.weights).eval()
        network.features = network.features[-2:]  # type: ignore[index]
        return network


@cache
def gflops(alpha: float, num_frames: int, side: int) -> float:
    """Multiply-adds of a clip, in thousand millions."""
    return count_macs(create_model(MODEL, alpha=alpha), (1, 3, num_frames, side, side)) / 1e9
