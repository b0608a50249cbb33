"""What a tensor has to be before the kernels get a pointer to its memory."""

import torch
from torch import Tensor

from octvideo.errors import InputError


def check_clip(name: str, x: Tensor, dtype: torch.dtype, shape: tuple[int | None, ...]) -> None:
    """Raise InputError unless ``x`` is a clip ``(B, C, T, H, W)`` on the CPU, of that type, without an empty axis.

    Args:
        name: of ``x``, for the text.
        dtype: of the weights.
        shape: that ``x`` must have, None where any size of 1 or more is allowed.
    """
    if (
        x.dtype != dtype
        or x.device.type != "cpu"
        or x.layout != torch.strided
        or x.dim() != len(shape)
        or not all(n > 0 and n == (wanted or n) for n, wanted in zip(x.shape, shape, strict=True))
    ):
        sizes = ", ".join("1 or more" if wanted is None else str(wanted) for wanted in shape)
        raise InputError(
            f"{name} is {x.dtype} {tuple(x.shape)} on {x.device}; "
            f"allowed is {dtype} (B, C, T, H, W) = ({sizes}) on the CPU"
        )
