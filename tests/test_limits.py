"""Numbers out of options and files: of their kind, in their range, finite; the text says all three."""

import re

import numpy as np
import pytest

from octvideo.errors import InputError
from octvideo.limits import LIMITS, Limits, check_numbers


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_frames": 10**7}, "num_frames is 10000000, allowed is a whole number, 1 to 1024"),
        ({"num_frames": "8"}, "num_frames is '8', allowed is a whole number"),
        ({"seed": 10**400}, "seed is 1000"),
        ({"num_frames": True}, "num_frames is True"),
        ({"num_frames": 8.0}, "num_frames is 8.0"),
        ({"num_frames": None}, "num_frames is None"),
        ({"fps": float("nan")}, "fps is nan, allowed is a number, 0.1 to 1000"),
        ({"seconds_a_video": float("inf")}, "seconds_a_video is inf, allowed is a number, above 0, or none"),
        ({"mean": [0.4]}, "mean is [0.4], allowed is 3 numbers, -10 to 10"),
        ({"mean": "abc"}, "mean is 'abc'"),
        ({"std": [1, 0, 1]}, "std is [1, 0, 1], allowed is 3 numbers, above 0 and to 10"),
        ({"short_side": [256, 320.5]}, "short_side is [256, 320.5], allowed is 2 whole numbers, 1 to 4096"),
        (
            {"num_frames": 1024, "crop": 4096},
            "num_frames is 1024 with crop 4096, allowed are clips of 268435456 pixels",
        ),
        ({"mean": list(range(10**5))}, "mean is [0, 1, 2"),
    ],
)
def test_refused(settings: dict, text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)) as caught:
        check_numbers(settings)
    assert len(str(caught.value)) < 250


def test_taken() -> None:
    check_numbers(
        {"num_frames": np.int64(8), "fps": 30, "mean": (0.4, 0, 1.0), "num_workers": None, "unknown": "x"}
    )
    check_numbers({"--x": 3}, limits={"--x": Limits(0, 3)})
    for name, limits in LIMITS.items():
        if not limits.above and limits.size == 1:
            check_numbers({name: limits.low if not limits.whole else int(limits.low)})
