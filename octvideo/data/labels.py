"""What labels mean: which class a mirrored clip is of, and how often each class is there.

A label is a class number, or several of them where a video may be of several classes. N videos, C classes.
"""

import re
from collections.abc import Sequence

import numpy as np

# A class number, -1 where a video has none; or the numbers of all classes of a video.
Label = int | tuple[int, ...]

_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)
_OTHER = {
    "left": "right",
    "right": "left",
    "Left": "Right",
    "Right": "Left",
    "LEFT": "RIGHT",
    "RIGHT": "LEFT",
}


def mirrored_classes(class_names: Sequence[str]) -> tuple[int, ...]:
    """By class, the number of the class of its mirrored clips: its own, or -1 where there is no such class.

    "Pushing something from left to right", mirrored, is "Pushing something from right to left"; a class that names a
    side and has no such twin is none of the classes when it is mirrored.

    >>> mirrored_classes(["turning left", "turning right", "waving", "left hook"])
    (1, 0, 2, -1)
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    twins = (_SIDE.sub(lambda side: _OTHER.get(side[0], side[0]), name) for name in class_names)
    return tuple(numbers.get(twin, -1) for twin in twins)


def mirrored(label: Label, classes: Sequence[int]) -> Label | None:
    """The label of a mirrored clip; None where it would be none of the classes.

    Args:
        label: of the clip as it is.
        classes: of `mirrored_classes`.
    """
    if isinstance(label, tuple):
        several = tuple(classes[number] for number in label)
        return None if -1 in several else several
    number = classes[label] if label >= 0 else label
    return None if label >= 0 and number == -1 else number


def many_hot(label: Sequence[int], num_classes: int) -> np.ndarray:
    """Several classes as `float32 (C,)`, 1 at each of them."""
    row = np.zeros(num_classes, dtype=np.float32)
    row[list(label)] = 1
    return row


def class_counts(labels: Sequence[Label], num_classes: int) -> np.ndarray:
    """`int64 (C,)`: of how many videos each class is; those without a label are of none."""
    numbers = [number for label in labels for number in (label if isinstance(label, tuple) else (label,))]
    return np.bincount([number for number in numbers if number >= 0], minlength=num_classes)


def balanced_draws(labels: Sequence[Label], balance: float) -> np.ndarray:
    """How often each video is drawn in an epoch of N draws, on average, `float64 (N,)`.

    The draws of a class of n videos are in proportion to n^(1 - balance): 0 draws every video once, 1 every class as
    often. A video of several classes counts as its rarest one (arXiv 1908.03195, section 6).
    """
    sets = [label if isinstance(label, tuple) else (label,) for label in labels]
    counts = class_counts(labels, 1 + max(number for numbers in sets for number in numbers))
    rarest = np.asarray([min(counts[number] for number in numbers) for numbers in sets], dtype=np.float64)
    weights = np.maximum(rarest, 1) ** -balance
    return weights * (len(labels) / weights.sum())
