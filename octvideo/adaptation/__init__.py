"""From a dense checkpoint to an octave network without labels: `octvideo.adapt`.

The names below are imported on first use: what the command line asks for first goes without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:  # PEP 562
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
