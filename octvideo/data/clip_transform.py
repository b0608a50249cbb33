"""A card's preprocessing as one call, for a loader of one's own: which frames, and what becomes of them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from octvideo.card import Card
from octvideo.data.dataset import ClipSpec
from octvideo.data.transforms import EvalTransform, TrainTransform


class ClipTransform:
    """From decoded frames to what the network takes; which frames those are, too.

    Args:
        card: of the network, `classifier.card` say.
        train: a random clip and crop, flipped at random, from torch's random numbers, which loaders seed for each of
            their processes; else the clip and the crop in the middle.
        flip: training: probability of a horizontal flip.

    Example:
        >>> transform = ClipTransform(Card(num_frames=8, test_short_side=128, test_crop=112))
        >>> indices = transform.indices([number / 25 for number in range(100)])
        >>> frames = torch.zeros(len(indices), 120, 160, 3, dtype=torch.uint8)  # of these numbers, by any decoder
        >>> tuple(transform(frames).shape)
        (3, 8, 112, 112)
    """

    def __init__(self, card: Card, *, train: bool = False, flip: float = 0.5) -> None:
        self.spec = ClipSpec.of(card)
        self.train = train
        self._random = TrainTransform(card.short_side, card.crop, flip)
        self._middle = EvalTransform(card.test_short_side, card.test_crop, 1)
        self._mean, self._std = (
            torch.tensor(colours).mul(255).view(3, 1, 1, 1) for colours in (card.mean, card.std)
        )

    def indices(self, pts_seconds: Sequence[float] | np.ndarray) -> list[int]:
        """Which frames of a video make the clip, `num_frames` numbers.

        Args:
            pts_seconds: when each of its frames is shown, increasing.
        """
        pts = np.asarray(pts_seconds, dtype=np.float64)
        return self.spec.random(pts, _rng()) if self.train else self.spec.uniform(pts, 1)[0]

    def __call__(self, frames: Tensor | np.ndarray) -> Tensor:
        """`uint8 (T, H, W, 3)`, RGB, to `float32 (3, T, h, w)` of mean 0 and variance 1."""
        pixels = torch.as_tensor(frames)
        if self.train:
            clip = self._random(pixels, _rng())
        else:
            (clip,) = self._middle.crops(self._middle.scale(pixels))
        return clip.float().sub_(self._mean).div_(self._std)


def _rng() -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**62, ())))
