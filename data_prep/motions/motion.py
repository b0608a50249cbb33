"""The eight motions, and why a single frame says nothing about which one it is from.

A motion is a pose of a texture over time: the place in it that is looked at, its angle and its scale. At every
single time the place is uniform on a torus (mirrored tiles are periodic), the angle uniform on the circle and the
logarithm of the scale uniform on an interval, *for every class*:

- a translation moves a place that is uniform on the torus, a rotation turns a uniform angle, and both stay so;
- a zoom lets the scale run through its whole interval and then cuts to the other end, like a saw-tooth with a
  random phase. So that cuts tell nothing either, the videos of all classes cut in the same rhythm, and each cut
  moves to a new place, angle and scale.

Hence the frames of all classes have one distribution. Played backwards, a video of one class is a video of its
opposite: frames in random order cannot tell the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .textures import PERIOD

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
# The frame's x axis points right, its y axis down, so a growing angle turns clockwise on the screen.
_HEADING_DEGREES = {"moving left": 180.0, "moving right": 0.0, "moving up": 270.0, "moving down": 90.0}
_TURN = {"turning clockwise": 1.0, "turning counter-clockwise": -1.0}
_ZOOM = {"zooming in": 1.0, "zooming out": -1.0}

OCTAVES = 2.0  # width of the interval of scales
TEXELS_PER_SIDE = 100.0  # texels along the frame's shorter side at scale 1, in the middle of that interval


@dataclass(frozen=True)
class Pose:
    """How a texture lies on the screen around a fixed point of it.

    Args:
        place: Texel `(x, y)` at that point.
        angle: Clockwise, in radians.
        octaves: Logarithm to base 2 of the scale; +1 shows everything twice as large.
    """

    place: np.ndarray
    angle: float
    octaves: float

    @property
    def texels_per_side(self) -> float:
        return TEXELS_PER_SIDE * 2.0**-self.octaves

    def texels(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Texel coordinates at screen points `x`, `y`, in shorter sides from the fixed point."""
        cos = np.float32(np.cos(self.angle) * self.texels_per_side)
        sin = np.float32(np.sin(self.angle) * self.texels_per_side)
        return np.float32(self.place[0]) + cos * x + sin * y, np.float32(self.place[1]) - sin * x + cos * y


def random_pose(rng: np.random.Generator) -> Pose:
    """A pose from the distribution that every frame of every class has."""
    place = rng.uniform(0, PERIOD, size=2)
    return Pose(place, rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5) * OCTAVES)


class Motion:
    """One video's motion; `pose(seconds)` gives its pose.

    Args:
        name: One of `CLASSES`.
        rng: Drawn from in an order that does not depend on `name`.
        num_seconds: Length of the video.
    """

    def __init__(self, name: str, rng: np.random.Generator, num_seconds: float) -> None:
        self.name = name
        pace = rng.uniform()
        self.sides_per_second = 0.35 + 0.45 * pace
        self.radians_per_second = np.deg2rad(70 + 70 * pace)
        self.octaves_per_second = 0.8 + 0.5 * pace
        self.heading_offset_degrees = rng.uniform(-12, 12)
        self.phase = rng.uniform()
        self.period_seconds = OCTAVES / self.octaves_per_second
        self.shots = [random_pose(rng) for _ in range(int(num_seconds / self.period_seconds) + 2)]

    def pose(self, seconds: float) -> Pose:
        """The pose at a time from 0 to the video's length."""
        cycles = seconds / self.period_seconds + self.phase
        shot = self.shots[int(cycles)]
        since_cut = (cycles - int(cycles)) * self.period_seconds
        if self.name in _HEADING_DEGREES:
            heading = np.deg2rad(_HEADING_DEGREES[self.name] + self.heading_offset_degrees)
            distance = self.sides_per_second * since_cut
            # What is seen moves one way because the place that is looked at moves the other way.
            place = np.array(shot.texels(-distance * np.cos(heading), -distance * np.sin(heading)))
            return Pose(place % PERIOD, shot.angle, shot.octaves)
        if self.name in _TURN:
            angle = shot.angle + _TURN[self.name] * self.radians_per_second * since_cut
            return Pose(shot.place, angle, shot.octaves)
        octaves = _ZOOM[self.name] * (self.octaves_per_second * since_cut - OCTAVES / 2)
        return Pose(shot.place, shot.angle, octaves)
