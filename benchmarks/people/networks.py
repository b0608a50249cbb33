"""The networks that are compared: Inception-I3D on its Kinetics-400 weights, dense, and octave on the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from octvideo.models import count_macs, create_model

ALPHAS = (0.0, 0.125, 0.25, 0.5)
MODEL = "i3d_inception"


@dataclass(frozen=True)
class Network:
    """A network by its octave ratio; 0 is the dense one."""

    alpha: float

    def __str__(self) -> str:
        return f"octave, alpha {self.alpha:g}" if self.alpha else "dense"

    @property
    def name(self) -> str:
        return f"alpha{self.alpha:g}"

    def build(self, weights: Path) -> nn.Module:
        """In evaluation."""
        return create_model(MODEL, alpha=self.alpha, checkpoint=weights).eval()

    def gflops(self, num_frames: int, side: int) -> float:
        """Multiply-adds of a clip, in thousand millions."""
        return count_macs(create_model(MODEL, alpha=self.alpha), (1, 3, num_frames, side, side)) / 1e9


NETWORKS = tuple(Network(alpha) for alpha in ALPHAS)
