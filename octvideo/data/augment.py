"""Augmentation of whole batches on the training device; what a clip gets, all of its frames get.

The transforms are torchvision's; a clip goes through them as `(T, 3, H, W)`. B clips, C classes.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from octvideo.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """What training clips go through after crop and flip. All of it is off by default.

    Args:
        rand_augment: operations a clip, RandAugment (arXiv 1909.13719); 0 is none.
        magnitude: of RandAugment, 0 to 30.
        erasing: probability that a box of a clip becomes the mean colour (arXiv 1708.04896).
        mixup: alpha of mixup (arXiv 1710.09412); 0 is none. With both mixup and cutmix, a batch gets either.
        cutmix: alpha of CutMix (arXiv 1905.04899); 0 is none.

    Raises:
        ValueError: an argument is outside its range.
    """

    rand_augment: int = 0
    magnitude: int = 9
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, fits, allowed in (
            ("rand_augment", self.rand_augment >= 0, "0 or more"),
            ("magnitude", 0 <= self.magnitude <= 30, "0 to 30"),
            ("erasing", 0 <= self.erasing <= 1, "a probability, 0 to 1"),
            ("mixup", self.mixup >= 0, "0 or more"),
            ("cutmix", self.cutmix >= 0, "0 or more"),
        ):
            if not fits:
                raise InputError(f"augment.{name} is {getattr(self, name)}, allowed is {allowed}")

    @property
    def mixes(self) -> bool:
        """Whether clips of a batch are mixed, so that labels become shares of classes."""
        return self.mixup > 0 or self.cutmix > 0

    @cached_property
    def _colour_and_shape(self) -> v2.RandAugment:
        return v2.RandAugment(self.rand_augment, self.magnitude, fill=[128, 128, 128])

    def pixels(self, clip: Tensor) -> Tensor:
        """RandAugment of `uint8 (B, 3, T, H, W)`, other operations for each clip."""
        if not self.rand_augment:
            return clip
        return torch.stack([self._colour_and_shape(one.transpose(0, 1)).transpose(0, 1) for one in clip])

    def erase(self, clip: Tensor) -> Tensor:
        """Random erasing of normalised clips, `float (B, 3, T, H, W)`, another box for each."""
        if not self.erasing:
            return clip
        erase = _Erasing(self.erasing)
        return torch.stack([erase(one.transpose(0, 1)).transpose(0, 1) for one in clip])

    def mix(self, clip: Tensor, label: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Mixup or CutMix of `float (B, 3, T, H, W)` and class numbers `(B,)`; labels become `float (B, C)`."""
        choices: list[Any] = []
        if self.mixup:
            choices.append(v2.MixUp(alpha=float(self.mixup), num_classes=num_classes))
        if self.cutmix:
            choices.append(v2.CutMix(alpha=float(self.cutmix), num_classes=num_classes))
        frames_first = tv_tensors.Video(clip.transpose(1, 2))  # (B, T, 3, H, W)
        mixed, shares = v2.RandomChoice(choices)(frames_first, label)
        return mixed.as_subclass(Tensor).transpose(1, 2), shares


class batch_seed:
    """A context in which torch's random numbers on the CPU, where transforms take theirs, follow from a batch.

    So the same batch of the same epoch is augmented alike, whatever came before it, also in a resumed training.
    """

    def __init__(self, seed: int, epoch: int, videos: list[int]) -> None:
        self._seed = int(np.random.SeedSequence([seed, epoch, *videos]).generate_state(1)[0])

    def __enter__(self) -> None:
        self._before = torch.get_rng_state()
        torch.default_generator.manual_seed(self._seed)

    def __exit__(self, *_: Any) -> None:
        torch.set_rng_state(self._before)


class _Erasing(v2.RandomErasing):
    """Boxes of zeros; torchvision's would bring the zero to a GPU, which is waited for."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if params["v"] is None:  # not this one
            return inpt
        top, left, height, width = (params[name] for name in ("i", "j", "h", "w"))
        erased = inpt.clone()
        erased[..., top : top + height, left : left + width].zero_()
        return erased
