"""What a clip costs in seconds, dense and octave, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.people.footage import Clip
from benchmarks.people.networks import Network
from octvideo.models import optimize
from octvideo.timing import interleave, ratio

ROUNDS = 15


@dataclass(frozen=True)
class Timed:
    """One clip through each network made ready for inference (`octvideo.models.optimize`), in turn.

    Attributes:
        networks: the first is what the others are compared with.
        runs: where all that is computed is kept.
    """

    networks: Sequence[Network]
    clip: Clip
    runs: Path

    @property
    def file(self) -> Path:
        return self.runs / f"timed_{self.clip.name}.json"

    def is_known(self) -> bool:
        return self.file.is_file()

    def found(self) -> dict[str, Any]:
        """Seconds a clip and their ratio to the first network's, by network; and where."""
        return dict(json.loads(self.file.read_text()))

    def compute(self) -> None:
        clip = torch.randn(1, 3, self.clip.num_frames, self.clip.side, self.clip.side)
        models = {str(network): optimize(network.build()) for network in self.networks}
        with torch.inference_mode():
            timings = interleave(
                {name: partial(model, clip) for name, model in models.items()}, rounds=ROUNDS
            )
        first = timings[str(self.networks[0])]
        found = {name: {"seconds": of.median, "ratio": str(ratio(of, first))} for name, of in timings.items()}
        self.runs.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps({"threads": torch.get_num_threads(), "networks": found}) + "\n")
