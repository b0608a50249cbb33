"""From a dense checkpoint to an octave network without labels: `octvideo.adapt`.

The names below are imported on first use: what the command line asks for first goes without torch.
"""

from typing import TYPE_CHECKING

from octvideo.lazy import on_first_use

if TYPE_CHECKING:
    from octvideo.adaptation.agreement import Agreement, compare
    from octvideo.adaptation.distill import Budget
    from octvideo.adaptation.one_call import adapt
    from octvideo.adaptation.progress import Measured, Progress
    from octvideo.adaptation.settings import STEPS
    from octvideo.adaptation.steps import Adaptation

__all__ = ["STEPS", "Adaptation", "Agreement", "Budget", "Measured", "Progress", "adapt", "compare"]

_HOME = {
    "STEPS": "settings",
    "Adaptation": "steps",
    **dict.fromkeys(("Agreement", "compare"), "agreement"),
    "Budget": "distill",
    **dict.fromkeys(("Measured", "Progress"), "progress"),
    "adapt": "one_call",
}

__getattr__, __dir__ = on_first_use(__name__, _HOME, __all__)
