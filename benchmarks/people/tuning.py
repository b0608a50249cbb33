"""The last block fine-tuned, from a head that the frozen features gave: https://arxiv.org/abs/2202.10054.

What goes into the last stage is computed once for each view of a video (features.py), so that ten folds of four
networks cost minutes of a processor. The head starts as the ridge classifier of the same features: what is learnt then
moves the block little, where a head of zeros would pull it away from what Kinetics taught it. Norms keep their
statistics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.people.features import Frozen
from benchmarks.people.footage import Split, write_whole
from benchmarks.people.linear import ridge

BATCH, WARMUP, DROPOUT = 12, 0.1, 0.5
SCALE = 10.0  # of the ridge classifier's outputs, 0 to 1, as logits
SMOOTHING = 0.1


@dataclass(frozen=True)
class Recipe:
    """Adam, warmed up, with a cosine to nothing."""

    lr: float
    epochs: int

    def __str__(self) -> str:
        return f"rate {self.lr:g}, {self.epochs} epochs"


# What the trials choose from.
RECIPES = (Recipe(1e-4, 2), Recipe(3e-5, 2))


class Tuning:
    """The fine-tuning of a network's last block on a split's training videos, and the scores of its other ones.

    Args:
        frozen: whose outputs for all views of the footage are known.
        split: what is learnt from and what is tested.
        recipe: how.
    """

    def __init__(self, frozen: Frozen, split: Split, recipe: Recipe) -> None:
        self.frozen, self.split, self.recipe = frozen, split, recipe
        run = f"{split.name.replace(' ', '_')}_lr{recipe.lr:g}_epochs{recipe.epochs}.npy"
        self.file = frozen.runs / frozen.footage.name / "tuned" / frozen.clip.name / frozen.network.name / run

    def is_known(self) -> bool:
        return self.file.is_file()

    def scores(self) -> np.ndarray:
        """`(tested videos, classes)`."""
        return np.asarray(np.load(self.file))

    def compute(self) -> None:
        inputs, train = self.frozen.last_block(), list(self.split.train)
        network = SideBySide(self.frozen.network.last_stage())
        network.start_with(*ridge(self.frozen.side_by_side()[train], self.frozen.footage.labels[train]))
        self._train(network, inputs)
        with torch.inference_mode():
            scores = network(inputs[list(self.split.test)])
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, scores.numpy())

    def _train(self, network: nn.Module, inputs: Tensor) -> None:
        torch.manual_seed(0)
        rng, train = np.random.default_rng(0), np.array(self.split.train)
        labels = torch.from_numpy(self.frozen.footage.labels)
        steps, step = self.recipe.epochs * math.ceil(len(train) / BATCH), 0
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.recipe.lr)
        network.get_submodule("dropout").train()
        for _ in range(self.recipe.epochs):
            order = rng.permutation(train)
            for videos in np.split(order, range(BATCH, len(order), BATCH)):
                rate = min(1.0, (step + 1) / (WARMUP * steps)) * (1 + math.cos(math.pi * step / steps)) / 2
                optimizer.param_groups[0]["lr"] = self.recipe.lr * rate
                loss = F.cross_entropy(network(inputs[videos]), labels[videos], label_smoothing=SMOOTHING)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
        network.eval()


class SideBySide(nn.Module):
    """The last block and a classifier that reads what it gives for a video's clips, one behind the other.

    `(B, views, C, T, H, W)` to logits `(B, classes)`.

    Args:
        last_stage: `Network.last_stage`, of which the last block is taken.
    """

    def __init__(self, last_stage: nn.Module) -> None:
        super().__init__()
        last_stage.features = last_stage.features[1:]  # type: ignore[index]
        last_stage.dropout = last_stage.fc = nn.Identity()
        self.block = last_stage.eval()
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Identity()

    def start_with(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """A linear classifier of the frozen features, `(views x F, classes)`, becomes the head."""
        self.head = nn.Linear(*weight.shape)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(SCALE * weight.T))
            self.head.bias.copy_(torch.from_numpy(SCALE * bias))

    def forward(self, clips: Tensor) -> Tensor:
        features = self.block(clips.flatten(0, 1)).unflatten(0, clips.shape[:2]).flatten(1)
        return self.head(self.dropout(features))
