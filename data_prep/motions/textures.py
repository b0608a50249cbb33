"""Photographs as endless textures: periodic without a seam, sampled at any place, angle and scale.

Texture images are `float32 (H, W, 3)` in 0..255. `PHOTOGRAPHS` names images of `skimage.data` that are part of
its wheel, so that nothing is downloaded; every split has photographs of its own.
"""

from __future__ import annotations

from functools import cache

import numpy as np

PHOTOGRAPHS = {
    "train": (
        "astronaut",
        "brick",
        "chelsea",
        "coins",
        "grass",
        "hubble_deep_field",
        "immunohistochemistry",
        "rocket",
    ),
    "val": ("coffee", "moon"),
    "test": ("camera", "gravel", "stereo_motorcycle"),
}
TILE = 128  # texels along one side of a texture before it is mirrored; a power of two
PERIOD = 2 * TILE


class Texture:
    """A tile mirrored on both axes, hence periodic and without seams, with smaller copies against aliasing.

    Args:
        tile: `float32 (N, N, 3)` in 0..255, N a power of two. The period is 2 N texels.
    """

    def __init__(self, tile: np.ndarray) -> None:
        level = np.pad(tile, ((0, 0), (0, 0), (0, 1)))  # a fourth channel, so that a texel is 16 bytes
        level = np.concatenate([level, level[::-1]], axis=0)
        level = np.concatenate([level, level[:, ::-1]], axis=1)
        self.period = level.shape[0]
        self._levels = []
        for _ in range(4):
            # One element a texel: numpy gathers such an array several times faster than rows of three.
            texels = np.ascontiguousarray(level.reshape(-1, 4), dtype=np.float32)
            self._levels.append(texels.view(np.complex128)[:, 0])
            level = (level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2]) / 4

    def sample(self, x: np.ndarray, y: np.ndarray, texels_per_pixel: float) -> np.ndarray:
        """Colours `float32 (..., 4)` at texel coordinates `x`, `y` of one shape, trilinearly interpolated.

        Args:
            texels_per_pixel: Distance in texels between neighbouring samples; selects the smaller copies.
        """
        depth = float(np.clip(np.log2(max(texels_per_pixel, 1.0)), 0, len(self._levels) - 1))
        fine = min(int(depth), len(self._levels) - 2)
        colours = self._bilinear(fine, x, y)
        if depth > fine:
            _blend(colours, self._bilinear(fine + 1, x, y), np.float32(depth - fine))
        return colours

    def _bilinear(self, level: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        n = self.period >> level
        # Texel centres of a level lie at (i + 0.5) * 2**level.
        x = x * np.float32(0.5**level) - np.float32(0.5)
        y = y * np.float32(0.5**level) - np.float32(0.5)
        x0, y0 = np.floor(x), np.floor(y)
        wx, wy = (x - x0)[..., None], (y - y0)[..., None]
        left, top = x0.astype(np.int32) & (n - 1), y0.astype(np.int32) & (n - 1)
        right, bottom = (left + 1) & (n - 1), ((top + 1) & (n - 1)) * n
        top *= n
        upper = _blend(self._gather(level, top + left), self._gather(level, top + right), wx)
        lower = _blend(self._gather(level, bottom + left), self._gather(level, bottom + right), wx)
        return _blend(upper, lower, wy)

    def _gather(self, level: int, index: np.ndarray) -> np.ndarray:
        return self._levels[level].take(index)[..., None].view(np.float32)


def _blend(first: np.ndarray, second: np.ndarray, weight: np.ndarray | np.float32) -> np.ndarray:
    """Moves `first` by `weight` towards `second`; overwrites both, which is what makes it fast."""
    second -= first
    second *= weight
    first += second
    return first


@cache
def photograph(name: str) -> np.ndarray:
    """The photograph `name` of `skimage.data` as `uint8 (H, W, 3)`."""
    import skimage.data

    image = getattr(skimage.data, name)()
    if name == "stereo_motorcycle":
        image = image[0]  # the left one of a pair
    if image.ndim == 2:
        image = np.stack([image] * 3, axis=-1)
    return np.ascontiguousarray(image[..., :3])


def random_texture(rng: np.random.Generator, split: str) -> Texture:
    """A texture from a random crop of one of the split's photographs, in random colours.

    The crop is the liveliest of four: plain sky shows no motion.
    """
    names = PHOTOGRAPHS[split]
    image = photograph(names[rng.integers(len(names))])
    crops = [_random_crop(rng, image) for _ in range(4)]
    crop = max(crops, key=_liveliness)
    crop = np.rot90(crop, int(rng.integers(4)))
    if rng.integers(2):
        crop = crop[:, ::-1]
    return Texture(_recolour(rng, _resize(crop.astype(np.float32))))


def _random_crop(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = int(rng.integers(144, min(height, width, 384) + 1))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    return image[top : top + side, left : left + side]


def _liveliness(crop: np.ndarray) -> float:
    """Contrast between blocks of an eighth of the crop."""
    n = crop.shape[0] // 8
    return float(crop[: 8 * n, : 8 * n, 1].reshape(8, n, 8, n).mean(axis=(1, 3)).std())


def _resize(crop: np.ndarray) -> np.ndarray:
    """Averages over a neighbourhood as large as the step, then interpolates to `TILE` texels on both sides."""
    while crop.shape[0] > 1.5 * TILE:
        n = crop.shape[0] // 2 * 2
        crop = (crop[:n:2, :n:2] + crop[1:n:2, :n:2] + crop[:n:2, 1:n:2] + crop[1:n:2, 1:n:2]) / 4
    place = np.linspace(0, crop.shape[0] - 1.001, TILE, dtype=np.float32)
    index = place.astype(int)
    weight = (place - index)[:, None, None]
    crop = crop[index] + weight * (crop[index + 1] - crop[index])
    weight = weight.swapaxes(0, 1)
    return crop[:, index] + weight * (crop[:, index + 1] - crop[:, index])


def _recolour(rng: np.random.Generator, tile: np.ndarray) -> np.ndarray:
    """Random saturation, tint, sign, contrast and brightness, the same for every texel."""
    grey = tile.mean(axis=2, keepdims=True)
    colour = (tile - grey) * np.float32(rng.uniform(0.3, 1.3))
    grey = (grey - grey.mean()) / max(grey.std(), np.float32(8))
    if rng.random() < 0.25:
        grey = -grey
    brightness, contrast = rng.uniform(95, 160), rng.uniform(38, 62)
    base = (brightness + rng.uniform(-35, 35, size=3)).astype(np.float32)
    slope = (contrast + rng.uniform(-12, 12, size=3)).astype(np.float32)
    return np.clip(base + grey * slope + colour[..., rng.permutation(3)], 0, 255)
