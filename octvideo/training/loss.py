"""The loss of a classifier: of one class or several a clip, with classes that count more than others."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ClassLoss(nn.Module):
    """Cross-entropy, or the binary one of each class where a clip may be of several.

    Args:
        multi_label: whether a clip may be of several classes; it decides for all that reads logits.
        label_smoothing: of the cross-entropy.

    Attributes:
        weight: `(C,)`, what each class counts; None: all alike. No part of the state dict, since it belongs to the
            training and not to the network.
    """

    weight: Tensor | None

    def __init__(self, *, multi_label: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.multi_label = multi_label
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", None, persistent=False)

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Logits `(B, C)` and class numbers `(B,)` or shares `(B, C)` to a number."""
        weight = None if self.weight is None else self.weight.to(logits)
        if self.multi_label:
            return F.binary_cross_entropy_with_logits(logits, label.to(logits), weight=weight)
        return F.cross_entropy(logits, label, weight=weight, label_smoothing=self.label_smoothing)


def balanced_weights(counts: np.ndarray) -> Tensor:
    """Weights in inverse proportion to the classes' videos: a class of n of N videos counts N / (C n).

    As scikit-learn's `class_weight="balanced"`; a class without videos, which no clip is of, counts as one of one
    video.
    """
    return torch.from_numpy(counts.sum() / (len(counts) * np.maximum(counts, 1))).float()


def hits(logits: Tensor, label: Tensor, *, multi_label: bool) -> Tensor:
    """Whether the most probable class is the clip's, `bool (B,)`: one of several; of mixed clips, the largest share."""
    best = logits.detach().argmax(dim=1)
    if multi_label:
        return label.gather(1, best[:, None])[:, 0] >= 0.5
    return best == (label if label.ndim == 1 else label.argmax(dim=1))
