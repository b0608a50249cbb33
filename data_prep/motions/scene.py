"""What a video shows: a patch whose texture moves, over a still background of another texture.

The patch stays where it is: its texture moves behind its outline, as a landscape does in a window. Both layers
are shaken a little, as if by hand. All but the motion (textures, colours, outline, pace, frame rate, duration,
size of the frame, encoder setting) is drawn from a generator that never sees the class.
"""

from __future__ import annotations

import numpy as np

from .motion import CLASSES, Motion, Pose, random_pose
from .textures import Texture, random_texture

SPLITS = ("train", "val", "test")
_MARGIN = 2  # pixels that the background may be shaken by


class Scene:
    """Everything about one video; `frame(i)` renders it.

    Args:
        label: Index into `CLASSES`.
        split: Which photographs to use; one of `SPLITS`.
        rng: The only source of randomness, drawn from in an order that does not depend on `label`.
        min_side, max_side: Range of the shorter side in pixels.
    """

    def __init__(
        self, label: int, split: str, rng: np.random.Generator, min_side: int, max_side: int
    ) -> None:
        self.fps = int(rng.choice([24, 25, 30]))
        self.num_frames = round(rng.uniform(1.6, 2.8) * self.fps)
        self.crf = int(rng.integers(18, 25))
        side = rng.integers(min_side, max_side + 1)
        long_side = side * rng.uniform(1.0, 1.4)
        shape = (side, long_side) if rng.random() < 0.7 else (long_side, side)
        # H.264 with 4:2:0 colour wants even sizes.
        self.height, self.width = (2 * round(float(n) / 2) for n in shape)
        self.side = min(self.height, self.width)
        self.motion = Motion(CLASSES[label], rng, self.num_frames / self.fps)
        # Of the point that a rotation or zoom leaves alone, from the patch's centre, in sides.
        self.pivot = rng.uniform(-0.06, 0.06, size=2)
        self.patch = random_texture(rng, split)
        self._shake = [
            (
                rng.uniform(0, 0.012) * self.side,
                rng.uniform(0.5, 3.0, size=2),
                rng.uniform(0, 2 * np.pi, size=2),
            )
            for _ in range(2)
        ]
        self._draw_outline(rng)
        x, y = self._pixels(_MARGIN, np.array([self.width / 2, self.height / 2]))
        self._background = self._look(random_texture(rng, split), random_pose(rng), x, y)

    def _draw_outline(self, rng: np.random.Generator) -> None:
        """A turned superellipse, from an ellipse to nearly a rectangle, with an edge one pixel wide."""
        middle = np.array([self.width, self.height]) / 2
        self.centre = middle + rng.uniform(-0.12, 0.12, size=2) * self.side
        radii = rng.uniform(0.34, 0.7, size=2) * self.side
        power = rng.uniform(2, 8)
        angle = rng.uniform(0, np.pi)
        x, y = self._pixels(0, self.centre)
        u = np.abs(x * np.cos(angle) + y * np.sin(angle)) / radii[0]
        v = np.abs(y * np.cos(angle) - x * np.sin(angle)) / radii[1]
        distance = (1 - (u**power + v**power) ** (1 / power)) * radii.min()
        mask = np.clip(distance + 0.5, 0, 1).astype(np.float32)
        self._inside = np.flatnonzero(mask)
        self._mask = mask.ravel()[self._inside][:, None]
        self._x, self._y = x.ravel()[self._inside], y.ravel()[self._inside]

    def _pixels(self, margin: int, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel centres x, y, from the point `centre`, of the frame and a margin around it."""
        rows, columns = slice(-margin, self.height + margin), slice(-margin, self.width + margin)
        y, x = np.mgrid[rows, columns].astype(np.float32) + np.float32(0.5)
        return x - np.float32(centre[0]), y - np.float32(centre[1])

    def frame(self, index: int) -> np.ndarray:
        """Frame `index` as `uint8 (height, width, 3)`, RGB."""
        seconds = index / self.fps
        shift, background_shift = (
            pixels * np.sin(2 * np.pi * rate * seconds + phase) for pixels, rate, phase in self._shake
        )
        shift = (shift + self.pivot * self.side).astype(np.float32)
        pose = self.motion.pose(seconds)
        moving = self._look(self.patch, pose, self._x - shift[0], self._y - shift[1])
        picture = self._shifted_background(background_shift)
        pixels = picture.reshape(-1, 4).view(np.complex128)[:, 0]  # one element a pixel, as in Texture
        still = pixels.take(self._inside)[:, None].view(np.float32)
        still += self._mask * (moving - still)
        pixels[self._inside] = still.view(np.complex128)[:, 0]
        return (picture[..., :3] + np.float32(0.5)).astype(np.uint8)

    def _shifted_background(self, shift: np.ndarray) -> np.ndarray:
        """The background `float32 (H, W, 4)`, moved by less than the margin on each axis."""
        left, top = np.floor(_MARGIN - shift).astype(int)
        wx, wy = (_MARGIN - shift - (left, top)).astype(np.float32)
        window = self._background[top : top + self.height + 1, left : left + self.width + 1]
        window = window[:, :-1] + wx * (window[:, 1:] - window[:, :-1])
        return window[:-1] + wy * (window[1:] - window[:-1])

    def _look(self, texture: Texture, pose: Pose, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The texture in a pose at the pixels `x`, `y`: `float32 (..., 4)`."""
        scale = np.float32(1 / self.side)
        texel_x, texel_y = pose.texels(x * scale, y * scale)
        return texture.sample(texel_x, texel_y, pose.texels_per_side / self.side)


def make_scene(
    seed: int, split: str, index: int, *, min_side: int = 74, max_side: int = 96
) -> tuple[Scene, int]:
    """Scene and label of video `index` of a split. Labels follow the index, so classes are balanced."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    label = index % len(CLASSES)
    return Scene(label, split, rng, min_side, max_side), label
