"""From a dense checkpoint to an octave network without labels: `octvideo.adapt`."""

from octvideo.adaptation.adapt import STEPS, Adaptation, Measured, Progress, adapt
from octvideo.adaptation.agreement import Agreement, compare
from octvideo.adaptation.distill import Budget

__all__ = ["STEPS", "Adaptation", "Agreement", "Budget", "Measured", "Progress", "adapt", "compare"]
