"""The numbers that a setting may have, wherever it comes from: an option, a configuration, the card in a file.

Upper ends lie far above what is of use. They keep a slip of the hand, or a file that lies, from taking all memory.
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

from octvideo.errors import InputError


class Limits(NamedTuple):
    """From `low` to `high`, both included.

    Attributes:
        low: the least number.
        high: the largest one.
        whole: whether it has to be an int.
        above: whether `low` itself is not allowed.
        size: how many numbers there are; 1 is a number, more are a list.
        or_none: whether None is allowed, too.
    """

    low: float
    high: float = math.inf
    whole: bool = False
    above: bool = False
    size: int = 1
    or_none: bool = False

    def __str__(self) -> str:
        noun = "a whole number" if self.whole else "a number"
        if self.size > 1:
            noun = f"{self.size} {noun[2:]}s"
        start = f"above {self.low:g}" if self.above else f"{self.low:.10g}"
        until = "" if math.isinf(self.high) else f"{' and' if self.above else ''} to {self.high:.10g}"
        end = until or ("" if self.above else " or more")
        return f"{noun}, {start}{end}{', or none' if self.or_none else ''}"

    def fit(self, value: Any) -> bool:
        """Whether a value is of this kind and in this range; NaN and infinity never are."""
        if value is None:
            return self.or_none
        if self.size > 1:
            return (
                isinstance(value, list | tuple)
                and len(value) == self.size
                and all(self._replace(size=1).fit(part) for part in value)
            )
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        number: Any = value
        return (
            self.low <= number <= self.high and number < math.inf and not (self.above and number == self.low)
        )


_NETWORK = {
    "alpha": Limits(0, 1),
    "channel_multiple": Limits(1, 4096, whole=True),
    "num_classes": Limits(1, 100_000, whole=True),
    "view_batch_size": Limits(1, 100_000, whole=True),
}
# What happens to the pixels: a card's numbers, and the data module's settings of the same names.
RECIPE = {
    "num_frames": Limits(1, 1024, whole=True),
    "frame_stride": Limits(1, 1000, whole=True),
    "fps": Limits(0.1, 1000),
    "short_side": Limits(1, 4096, whole=True, size=2),
    "crop": Limits(1, 4096, whole=True),
    "test_short_side": Limits(1, 4096, whole=True),
    "test_crop": Limits(1, 4096, whole=True),
    "num_clips": Limits(1, 1000, whole=True),
    "num_crops": Limits(1, 100, whole=True),
    "mean": Limits(-10, 10, size=3),
    "std": Limits(0, 10, above=True, size=3),
}
LIMITS: dict[str, Limits] = {
    **_NETWORK,
    **RECIPE,
    # How it is loaded
    "batch_size": Limits(1, 100_000, whole=True),
    "eval_batch_size": Limits(1, 100_000, whole=True),
    "num_workers": Limits(0, 1024, whole=True, or_none=True),
    "seed": Limits(0, 2**63 - 1, whole=True),
    "seconds_a_video": Limits(0, above=True, or_none=True),
    "max_unreadable": Limits(0, 1),
    "balance": Limits(0, 1),
    # The options of `octvideo test`, `octvideo predict` and `octvideo bench`
    "window_s": Limits(0.1, or_none=True),
    "hop_s": Limits(0.1, or_none=True),
    "rounds": Limits(1, 10_000, whole=True),
    "budget_ms": Limits(0, above=True, or_none=True),
    "cascade": Limits(0, 0.9999, above=True, or_none=True),
}

_MOST_PATTERNS = 1000


def check_layer_alphas(value: Any) -> None:
    """Raises InputError unless it is a dictionary of patterns of layers to octave ratios."""
    share = LIMITS["alpha"]
    if (
        not isinstance(value, Mapping)
        or len(value) > _MOST_PATTERNS
        or not all(isinstance(pattern, str) and share.fit(alpha) for pattern, alpha in value.items())
    ):
        raise InputError(
            f"layer_alphas is {repr(value)[:80]}, allowed are patterns of layers, each with {share}"
        )


_MOST_PIXELS = 2**28  # of a clip: 1 GB for each channel, as floats


def check_numbers(
    settings: Mapping[str, Any], *, prefix: str = "", limits: Mapping[str, Limits] = LIMITS
) -> None:
    """Raises InputError for the first setting outside its limits; those that are not listed there pass.

    Args:
        settings: values by name.
        prefix: stands before the name in the error: "--".
        limits: by name.
    """
    for name, value in settings.items():
        if name in limits and not limits[name].fit(value):
            raise InputError(f"{prefix}{name} is {repr(value)[:80]}, allowed is {limits[name]}")
    for name in ("crop", "test_crop"):
        num_frames, side = settings.get("num_frames"), settings.get(name)
        if num_frames and side and num_frames * side * side > _MOST_PIXELS:
            raise InputError(
                f"{prefix}num_frames is {num_frames} with {prefix}{name} {side}, allowed are clips of {_MOST_PIXELS} "
                "pixels"
            )
