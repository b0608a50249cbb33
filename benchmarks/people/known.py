"""Real clips of two Kinetics-400 classes, and what the dense network takes them for: that the weights are right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.people.footage import Clip, View, as_input, read_clips, shown
from benchmarks.people.networks import Network
from octvideo.data.class_lists import class_list_file
from octvideo.data.manifest import read_class_list

# The class that each shows, by Kinetics' name.
SHOWN = {"arm_wrestling.mp4": "arm wrestling", "flipping_a_pancake.mkv": "flipping pancake"}


@dataclass(frozen=True)
class Known:
    """The five most probable of the 400 classes for one clip from the middle of each video.

    Attributes:
        folder: of the videos.
        clip: the size that the weights were trained at.
        runs: where all that is computed is kept.
    """

    network: Network
    folder: Path
    clip: Clip
    runs: Path

    @property
    def file(self) -> Path:
        return self.runs / f"known_{self.clip.name}.json"

    def is_known(self) -> bool:
        return self.file.is_file()

    def found(self) -> dict[str, list[tuple[str, float]]]:
        """Names and probabilities by file."""
        return dict(json.loads(self.file.read_text()))

    def compute(self) -> None:
        network, names = self.network.build(), read_class_list(class_list_file("kinetics400"))
        found = {}
        for file in SHOWN:
            clip = shown(read_clips(str(self.folder / file), self.clip).numpy(), View())
            with torch.inference_mode():
                probabilities, classes = network(as_input([clip]))[0].softmax(0).topk(5)
            found[file] = [
                (names[i], p) for i, p in zip(classes.tolist(), probabilities.tolist(), strict=True)
            ]
        self.runs.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(found) + "\n")
