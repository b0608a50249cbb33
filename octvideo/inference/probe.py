"""A linear classifier of features: how well a network's layer tells classes that it was not trained for."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from octvideo.errors import InputError


@dataclass(frozen=True)
class Probe:
    """A linear map from features to logits.

    Attributes:
        weight: `float64 (C, D)`.
        bias: `float64 (C,)`.
    """

    weight: np.ndarray
    bias: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """`(N, D)` to `float64 (N, C)`."""
        logits = torch.from_numpy(features.astype(np.float64) @ self.weight.T + self.bias)
        return logits.softmax(dim=1).numpy()


def fit_probe(
    features: np.ndarray, labels: np.ndarray, *, weight_decay: float = 1e-3, max_steps: int = 500
) -> Probe:
    """Multinomial logistic regression on features of mean 0 and variance 1, by L-BFGS.

    Args:
        features: `(N, D)`.
        labels: `int (N,)`, 0 or more; C is the largest and one.
        weight_decay: half of it times the sum of the squared weights is added to the mean cross-entropy.
        max_steps: of L-BFGS, which ends earlier where nothing changes.

    Raises:
        InputError: the sizes do not fit, a video has no label, or there is one class alone.
    """
    if len(features) != len(labels) or features.ndim != 2:
        raise InputError(f"features are {features.shape} with {len(labels)} labels, allowed is a row a label")
    if not len(labels) or labels.min() < 0 or len(np.unique(labels)) < 2:
        raise InputError(
            "labels are allowed of two classes or more, one for each video: give manifests with labels"
        )
    mean, std = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    std = np.where(std > 0, std, 1.0)
    x, y = torch.from_numpy((features - mean) / std), torch.from_numpy(labels.astype(np.int64))
    layer = nn.Linear(x.shape[1], int(y.max()) + 1, dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    steps = torch.optim.LBFGS(
        layer.parameters(), max_iter=max_steps, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        steps.zero_grad()
        value = nn.functional.cross_entropy(layer(x), y) + weight_decay / 2 * layer.weight.square().sum()
        value.backward()
        return value

    steps.step(loss)  # type: ignore[arg-type]
    weight = layer.weight.detach().numpy() / std
    return Probe(weight, layer.bias.detach().numpy() - weight @ mean)
