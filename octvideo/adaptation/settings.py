"""What an adaptation may be asked for."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from octvideo.errors import InputError
from octvideo.limits import Limits, check_numbers

if TYPE_CHECKING:
    from torch import Tensor

STEPS = ("channels", "layers", "features", "last_stage")
BATCH_SIZE, LR = 4, 3e-4  # of bringing features together: clips a step, and Adam's rate at its peak
SETTINGS = {
    "minutes": Limits(0, 100_000),
    "steps": Limits(0, whole=True, or_none=True),
    "batch_size": Limits(1, 10_000, whole=True),
    "lr": Limits(0, 1, above=True),
    "budget": Limits(0, 0.999, above=True, or_none=True),
}


def check_settings(clips: "Sequence[Tensor] | Tensor", without: Collection[str], **numbers: Any) -> None:
    """Raises InputError for clips or settings that no adaptation can have."""
    check_numbers(numbers, limits=SETTINGS)
    for step in without:
        if step not in STEPS:
            raise InputError(f"without has {step!r}, allowed are {', '.join(STEPS)}")
    if len(clips) < 2:
        raise InputError(f"there are {len(clips)} clips, allowed are 2 or more")
    sizes = {tuple(clips[i].shape) for i in range(len(clips))}
    for size in sizes:
        if len(size) != 4 or size[0] != 3:
            raise InputError(f"clips are {size}, allowed is (3, T, H, W)")
    if len(sizes) > 1:
        one, other = sorted(sizes)[:2]
        raise InputError(f"clips are {one} and {other}, allowed is one size")
