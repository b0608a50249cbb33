"""What the frozen networks make of the videos: the last stage's input, the features behind it, Kinetics' logits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.people.footage import VIEWS, Clip, Footage, View, as_input, shown
from benchmarks.people.networks import LAST_STAGE, Network
from octvideo.models import optimize


class Outputs(NamedTuple):
    """Of every video: `float16 (videos, C, T, H, W)`, `float32 (videos, F)` and `float32 (videos, 400)`."""

    last_stage: np.ndarray  # its input
    features: np.ndarray
    logits: np.ndarray


class Frozen:
    """A network's outputs for the views of all videos, computed once.

    Args:
        network: which.
        footage: whose videos.
        clip: what a clip is.
        runs: where all that is computed is kept.
    """

    def __init__(self, network: Network, footage: Footage, clip: Clip, runs: Path) -> None:
        self.network, self.footage, self.clip, self.runs = network, footage, clip, runs
        self._folder = runs / footage.name / "outputs" / clip.name / network.name
        self._model: nn.Module | None = None
        self._last_block: torch.Tensor | None = None
        self._heard: dict[str, torch.Tensor] = {}

    def _file(self, view: View) -> Path:
        return self._folder / f"{view.name}.npz"

    def is_known(self, view: View) -> bool:
        return self._file(view).is_file()

    def features(self, view: View) -> np.ndarray:
        """`float32 (videos, F)`."""
        return self._part(view, "features")

    def logits(self, view: View) -> np.ndarray:
        """`float32 (videos, 400)`."""
        return self._part(view, "logits")

    def side_by_side(self) -> np.ndarray:
        """Those of all VIEWS, one behind the other: `float32 (videos, views x F)`."""
        return np.concatenate([self.features(view) for view in VIEWS], axis=1)

    def last_block(self) -> torch.Tensor:
        """What goes into the last block, `float32 (videos, views, C, T, H, W)`."""
        if self._last_block is None:
            block = self.network.last_stage().features[0]  # type: ignore[index]
            views = [torch.from_numpy(self._part(view, "last_stage")) for view in VIEWS]
            with torch.inference_mode():
                rows = [torch.cat([block(part.float()) for part in of.split(16)]) for of in views]
            self._last_block = torch.stack(rows, 1).clone()
        return self._last_block

    def _part(self, view: View, name: str) -> np.ndarray:
        """Without reading the others."""
        with np.load(self._file(view)) as parts:
            return np.asarray(parts[name])

    def compute(self, view: View) -> None:
        """Runs the network over all videos."""
        clips = self.footage.clips(self.clip, self.runs)
        rows = [self._run(shown(of_video, view)) for of_video in clips]
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{view.name}.npz"
        parts = {name: np.stack([getattr(row, name) for row in rows]) for name in Outputs._fields}
        np.savez(temporary, **parts)
        os.replace(temporary, self._file(view))

    def _run(self, clip: np.ndarray) -> Outputs:
        if self._model is None:
            self._model = optimize(self.network.build())
            for name in (LAST_STAGE, "fc"):
                self._model.get_submodule(name).register_forward_pre_hook(
                    lambda module, inputs, name=name: self._heard.update({name: inputs[0][0]})
                )
        with torch.inference_mode():
            logits = self._model(as_input([clip]))[0]
        return Outputs(self._heard[LAST_STAGE].half().numpy(), self._heard["fc"].numpy(), logits.numpy())
