"""What a video shows, and why one of its frames says nothing about its class.

A video is a patch whose texture moves, over a still background of another texture, both shaken a little as if
by hand. The patch stays where it is: the texture moves behind its outline, as a landscape does in a window.
At every single time, the texture's place is uniform on a torus (mirrored tiles are periodic), its angle
uniform on the circle and the logarithm of its scale uniform on an interval, *for every class*:

- a translation moves a place that is uniform on the torus, a rotation turns a uniform angle, and both stay so;
- a zoom lets the scale run through its whole interval and then cuts to the other end, like a saw-tooth with a
  random phase. So that cuts tell nothing either, the videos of all classes cut in the same rhythm, and each cut
  moves to a new place, angle and scale.

Hence the frames of all classes have one distribution. Played backwards, a video of one class is a video of its
opposite: frames in random order cannot tell the two apart. All else (textures, colours, outline, pace, frame
rate, duration, size of the frame, encoder setting) is drawn from a generator that never sees the class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.motions.textures import TILE, Texture, random_texture

CLASSES = (
    "moving left",
    "moving right",
    "moving up",
    "moving down",
    "turning clockwise",
    "turning counter-clockwise",
    "zooming in",
    "zooming out",
)
SPLITS = ("train", "val", "test")
# The frame's x axis points right, its y axis down, so a growing angle turns clockwise on the screen.
_HEADING = {"moving left": 180.0, "moving right": 0.0, "moving up": 270.0, "moving down": 90.0}
_TURN = {"turning clockwise": 1.0, "turning counter-clockwise": -1.0}
_ZOOM = {"zooming in": 1.0, "zooming out": -1.0}
_OCTAVES = 2.0  # width of the interval of scales


@dataclass(frozen=True)
class Shot:
    """One stretch between cuts: place in texels, angle in radians, scale in octaves, all at its start."""

    place: np.ndarray
    angle: float
    octaves: float


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
        self.name = CLASSES[label]
        self.fps = int(rng.choice([24, 25, 30]))
        self.num_frames = round(rng.uniform(1.6, 2.8) * self.fps)
        self.crf = int(rng.integers(18, 25))
        side = rng.integers(min_side, max_side + 1)
        long_side = side * rng.uniform(1.0, 16 / 9)
        shape = (side, long_side) if rng.random() < 0.7 else (long_side, side)
        # H.264 with 4:2:0 colour wants even sizes.
        self.height, self.width = (2 * round(float(n) / 2) for n in shape)
        self.side = min(self.height, self.width)

        self.patch: Texture = random_texture(rng, split)
        self.background: Texture = random_texture(rng, split)
        pace = rng.uniform()
        self.sides_per_second = 0.35 + 0.45 * pace
        self.radians_per_second = np.deg2rad(70 + 70 * pace)
        self.octaves_per_second = 0.8 + 0.5 * pace
        self.heading_offset = np.deg2rad(rng.uniform(-12, 12))
        # Of the point that a rotation or zoom leaves alone, from the patch's centre, in sides.
        self.pivot = rng.uniform(-0.06, 0.06, size=2)
        self.period_seconds = _OCTAVES / self.octaves_per_second
        self.phase = rng.uniform()
        num_shots = int(self.num_frames / self.fps / self.period_seconds) + 2
        self.shots = [
            Shot(
                rng.uniform(0, 2 * TILE, size=2), rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5) * _OCTAVES
            )
            for _ in range(num_shots)
        ]
        self.background_shot = Shot(
            rng.uniform(0, 2 * TILE, size=2), rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5) * _OCTAVES
        )
        self._background: np.ndarray | None = None
        self._draw_shake(rng)
        self._draw_outline(rng)

    def _draw_shake(self, rng: np.random.Generator) -> None:
        size = rng.uniform(0, 0.012) * self.side  # under two pixels at 128
        self._shake = [
            (size, rng.uniform(0.5, 3.0, size=2), rng.uniform(0, 2 * np.pi, size=2)) for _ in range(2)
        ]

    def _draw_outline(self, rng: np.random.Generator) -> None:
        """A turned superellipse, from an ellipse to nearly a rectangle, with an edge one pixel wide."""
        centre = np.array([self.width / 2, self.height / 2]) + rng.uniform(-0.12, 0.12, size=2) * self.side
        radii = rng.uniform(0.32, 0.7, size=2) * self.side
        power = rng.uniform(2, 8)
        angle = rng.uniform(0, np.pi)
        x, y = self._pixels(0, centre)
        u = np.abs(x * np.cos(angle) + y * np.sin(angle)) / radii[0]
        v = np.abs(y * np.cos(angle) - x * np.sin(angle)) / radii[1]
        distance = (1 - (u**power + v**power) ** (1 / power)) * radii.min()
        mask = np.clip(distance + 0.5, 0, 1).astype(np.float32)
        self._inside = np.nonzero(mask)
        self._mask = mask[self._inside][:, None]
        self._x, self._y = x[self._inside], y[self._inside]

    def _pixels(self, margin: int, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel centres x, y, from the point `centre`, of the frame and a margin around it."""
        rows, columns = slice(-margin, self.height + margin), slice(-margin, self.width + margin)
        y, x = np.mgrid[rows, columns].astype(np.float32) + np.float32(0.5)
        return x - np.float32(centre[0]), y - np.float32(centre[1])

    def frame(self, index: int) -> np.ndarray:
        """Frame `index` as `uint8 (height, width, 3)`, RGB."""
        seconds = index / self.fps
        shift, background_shift = (
            size * np.sin(2 * np.pi * rate * seconds + phase) for size, rate, phase in self._shake
        )
        cycles = seconds / self.period_seconds + self.phase
        shot = self.shots[int(cycles)]
        since_cut = (cycles - int(cycles)) * self.period_seconds
        place, angle, octaves = shot.place, shot.angle, shot.octaves
        shift = shift + self.pivot * self.side
        if self.name in _HEADING:
            heading = np.deg2rad(_HEADING[self.name]) + self.heading_offset
            distance = self.sides_per_second * self.side * since_cut
            shift = shift + distance * np.array([np.cos(heading), np.sin(heading)])
        elif self.name in _TURN:
            angle = angle + _TURN[self.name] * self.radians_per_second * since_cut
        else:
            octaves = _ZOOM[self.name] * (self.octaves_per_second * since_cut - _OCTAVES / 2)
        moving = self._look(self.patch, Shot(place, angle, octaves), self._x - shift[0], self._y - shift[1])

        picture = self._shifted_background(background_shift)
        still = picture[self._inside]
        picture[self._inside] = still + self._mask * (moving - still)
        return np.rint(picture).astype(np.uint8)

    def _shifted_background(self, shift: np.ndarray) -> np.ndarray:
        """The background, moved by less than two pixels on each axis."""
        if self._background is None:
            x, y = self._pixels(2, np.array([self.width / 2, self.height / 2]))
            self._background = self._look(self.background, self.background_shot, x, y)
        left, top = np.floor(2 - shift).astype(int)
        wx, wy = (2 - shift - (left, top)).astype(np.float32)
        window = self._background[top : top + self.height + 1, left : left + self.width + 1]
        window = window[:, :-1] + wx * (window[:, 1:] - window[:, :-1])
        return window[:-1] + wy * (window[1:] - window[:-1])

    def _look(self, texture: Texture, shot: Shot, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The texture, placed as `shot` says, at the pixels `x`, `y`: `float32 (..., 3)`."""
        # At scale 1 the shorter side shows half a tile, whatever the resolution.
        texels_per_pixel = TILE / 2 / self.side * 2.0**-shot.octaves
        cos = np.float32(np.cos(shot.angle) * texels_per_pixel)
        sin = np.float32(np.sin(shot.angle) * texels_per_pixel)
        tx = np.float32(shot.place[0]) + cos * x + sin * y
        ty = np.float32(shot.place[1]) - sin * x + cos * y
        return texture.sample(tx, ty, texels_per_pixel)


def make_scene(
    seed: int, split: str, index: int, *, min_side: int = 72, max_side: int = 112
) -> tuple[Scene, int]:
    """Scene and label of video `index` of a split. Labels follow the index, so classes are balanced."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    label = index % len(CLASSES)
    return Scene(label, split, rng, min_side, max_side), label
