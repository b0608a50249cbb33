"""What the frozen networks make of the clips: the features in front of the classifier, and Kinetics' logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.people.footage import as_input, write_whole
from benchmarks.people.networks import Network
from octvideo.models import optimize

# What of a clip is shown, of `uint8 (3, T, H, W)`.
SHOWN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "forward": lambda clip: clip,
    "first": lambda clip: np.repeat(clip[:, :1], clip.shape[1], axis=1),
    "backward": lambda clip: np.ascontiguousarray(clip[:, ::-1]),
}


class Frozen:
    """A network that is made when the first clip is asked for.

    Args:
        network: which.
        weights: the file of its weights.
        folder: where what was computed is kept; what is there is not computed again.
    """

    def __init__(self, network: Network, weights: Path, folder: Path) -> None:
        self.network, self.weights, self.folder = network, weights, folder
        self._model: nn.Module | None = None
        self._seen: list[torch.Tensor] = []

    def known(self, shown: str) -> np.ndarray | None:
        """`float (videos, features + classes)`, features first; None where it was not computed."""
        file = self.folder / f"{self.network.name}_{shown}.npy"
        return np.load(file) if file.is_file() else None

    def outputs(self, clips: Sequence[np.ndarray], shown: str) -> np.ndarray:
        """The same, computed where it is not known."""
        known = self.known(shown)
        if known is None:
            known = np.stack([self._output(SHOWN[shown](clip)) for clip in clips])
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / f"{self.network.name}_{shown}.npy", known)
        return known

    def _output(self, clip: np.ndarray) -> np.ndarray:
        if self._model is None:
            self._model = optimize(self.network.build(self.weights))
            head = self._model.get_submodule("fc")
            head.register_forward_pre_hook(lambda module, inputs: self._seen.append(inputs[0]))
        self._seen.clear()
        with torch.inference_mode():
            logits = self._model(as_input([clip]))
        return torch.cat([self._seen[0][0], logits[0]]).numpy()
