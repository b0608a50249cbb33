"""Octave convolution for video action recognition: train, evaluate and explore Kinetics models.

The names below are imported on first use, so that `octvideo --help` does not wait for torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octvideo.adaptation import adapt
    from octvideo.card import Card
    from octvideo.classifier import VideoClassifier
    from octvideo.engines import engine
    from octvideo.inference.predict import predict
    from octvideo.models import create_model, octavize, optimize

try:
    __version__ = version("octvideo")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "Card",
    "VideoClassifier",
    "__version__",
    "adapt",
    "create_model",
    "engine",
    "octavize",
    "optimize",
    "predict",
]

_HOME = {
    "Card": "octvideo.card",
    "VideoClassifier": "octvideo.classifier",
    "adapt": "octvideo.adaptation",
    "create_model": "octvideo.models",
    "engine": "octvideo.engines",
    "octavize": "octvideo.models",
    "optimize": "octvideo.models",
    "predict": "octvideo.inference",
}


def __getattr__(name: str) -> Any:  # PEP 562
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
