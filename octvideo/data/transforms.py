"""From decoded frames to crops, uint8 throughout; the same for all frames of a clip.

Shapes: T frames of a clip, H x W their decoded size, V views. Normalisation happens later, on the device.
The random numbers come from the caller's generator and not from torch's global one, so that a clip depends on
its seed alone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from octvideo.data.sampling import crop_boxes, scaled_size
from octvideo.data.views import Views
from octvideo.errors import InputError


@dataclass(frozen=True)
class TrainTransform:
    """Random short side, random crop, random horizontal flip.

    Args:
        short_side: (least, most) pixels of the short side, inclusive.
        crop: side of the crop, pixels.
        flip: probability of a horizontal flip; 0 where left and right are different classes.
    """

    short_side: tuple[int, int] = (256, 320)
    crop: int = 224
    flip: float = 0.5

    def __post_init__(self) -> None:
        least, most = self.short_side
        if not 0 < self.crop <= least <= most:
            raise InputError(
                f"short_side is ({least}, {most}) with crop {self.crop}, allowed is 0 < crop <= least <= most"
            )
        if not 0 <= self.flip <= 1:
            raise InputError(f"flip is {self.flip}, allowed is a probability, 0 to 1")

    def __call__(self, frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """`uint8 (T, H, W, 3)` to `uint8 (3, T, crop, crop)`."""
        return self.cropping(rng)(frames).permute(3, 0, 1, 2)

    def cropping(self, rng: np.random.Generator, *, may_flip: bool = True) -> "RandomCrop":
        """What cuts one crop out of all frames of a video.

        Args:
            rng: of its place, size and flip.
            may_flip: False for a video that a flip would make another class's.
        """
        return RandomCrop(self, rng, self.flip if may_flip else 0.0)


class RandomCrop:
    """One crop of all frames of a video, `uint8 (n, H, W, 3)` to `(n, crop, crop, 3)`.

    The crop is cut out of the decoded frames first and only then scaled, which costs a fraction of scaling whole
    frames; the box is rounded to decoded pixels. What is random is drawn at the first call, which tells the frames'
    size.

    Attributes:
        flipped: whether left and right are exchanged, once frames have come.
    """

    def __init__(self, transform: TrainTransform, rng: np.random.Generator, flip: float) -> None:
        self.flipped = False
        self._transform, self._rng, self._flip = transform, rng, flip
        self._size: tuple[int, ...] = ()
        self._place = ((0, 0), (0, 0))  # the scaled size, and the corner of the crop in it

    def _draw(self, height: int, width: int) -> None:
        least, most = self._transform.short_side
        high, wide = scaled_size(height, width, int(self._rng.integers(least, most + 1)))
        top = int(self._rng.integers(0, high - self._transform.crop + 1))
        left = int(self._rng.integers(0, wide - self._transform.crop + 1))
        self.flipped = bool(self._rng.random() < self._flip)
        self._size, self._place = (height, width), ((high, wide), (top, left))

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        if tuple(frames.shape[1:3]) != self._size:
            self._draw(*frames.shape[1:3])
        crops = _crop_scaled(frames.permute(0, 3, 1, 2), *self._place, self._transform.crop)
        return (tvf.horizontal_flip(crops) if self.flipped else crops).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class EvalTransform:
    """The short side scaled, then one centre crop or several along the long side.

    Args:
        short_side: pixels of the short side.
        crop: side of the crops, pixels, at most `short_side`.
        num_crops: 1 for the centre; 3 for left, centre, right (top, centre, bottom of an upright video).
        mean: of red, green, blue, in 0 to 1; what the views are normalised with when they are cut.
        std: of red, green, blue, in 0 to 1.
    """

    short_side: int = 256
    crop: int = 256
    num_crops: int = 1
    mean: tuple[float, float, float] = (0.45, 0.45, 0.45)
    std: tuple[float, float, float] = (0.225, 0.225, 0.225)

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.short_side:
            raise InputError(f"test_crop is {self.crop}, allowed is 1 to test_short_side, {self.short_side}")
        if self.num_crops < 1:
            raise InputError(f"num_crops is {self.num_crops}, allowed is 1 or more")

    def scale(self, frames: torch.Tensor) -> torch.Tensor:
        """`uint8 (N, H, W, 3)` to `uint8 (N, h, w, 3)`, each frame by itself."""
        size = scaled_size(frames.shape[1], frames.shape[2], self.short_side)
        return _resize(frames.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)

    def views(self, scaled: torch.Tensor, clips: np.ndarray) -> Views:
        """All views, clip-major: the crops of the frames that `clips`, `int (num_clips, T)`, names.

        Args:
            scaled: `uint8 (N, h, w, 3)`.
        """
        boxes = np.asarray(crop_boxes(scaled.shape[1], scaled.shape[2], self.crop, self.num_crops))
        return Views(
            scaled,
            clips.repeat(len(boxes), axis=0),
            np.tile(boxes, (len(clips), 1)),
            self.crop,
            self.mean,
            self.std,
        )

    def crops(self, scaled: torch.Tensor) -> list[torch.Tensor]:
        """`uint8 (T, h, w, 3)` to `num_crops` of `uint8 (3, T, crop, crop)`."""
        boxes = crop_boxes(scaled.shape[1], scaled.shape[2], self.crop, self.num_crops)
        channels_first = scaled.permute(3, 0, 1, 2)
        return [tvf.crop(channels_first, top, left, self.crop, self.crop) for top, left in boxes]


def _crop_scaled(
    frames: torch.Tensor, scaled: tuple[int, int], corner: tuple[int, int], crop: int
) -> torch.Tensor:
    """The crop at `corner` of frames `uint8 (n, 3, H, W)` scaled to `scaled`, `uint8 (n, 3, crop, crop)`."""
    (top, bottom), (left, right) = (
        (round(start * side / full), max(round((start + crop) * side / full), round(start * side / full) + 1))
        for start, side, full in zip(corner, frames.shape[2:], scaled, strict=True)
    )
    return _resize(frames[:, :, top:bottom, left:right], (crop, crop))


def _resize(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear with antialias. Permuted (N, H, W, 3) memory is channels-last, its fast path for uint8."""
    if tuple(images.shape[-2:]) == size:
        return images
    return tvf.resize(images, list(size), interpolation=InterpolationMode.BILINEAR, antialias=True)
