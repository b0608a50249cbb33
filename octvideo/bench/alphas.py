"""How long one clip takes at each alpha, on this machine."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter

import torch
from torch import Tensor, nn

from octvideo.timing import interleave


@torch.inference_mode()
def clip_milliseconds(
    networks: Mapping[float, nn.Module],
    shape: Sequence[int],
    *,
    device: str = "cpu",
    autocast: torch.dtype | None = None,
    rounds: int = 7,
    clock: Callable[[], float] = perf_counter,
) -> dict[float, float]:
    """Milliseconds of a clip that is alone in its batch: the median over rounds in which each network runs once.

    Args:
        networks: by alpha, in evaluation mode.
        shape: frames, height and width of the clip.
        device: ``cpu`` or ``cuda``.
        autocast: what a mixed precision computes in; None: the weights' type.
        rounds: timed ones, after two that are not.
        clock: gives seconds.
    """
    clip = torch.randn(1, 3, *shape, device=device).to(memory_format=torch.channels_last_3d)
    placed = {
        alpha: network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        for alpha, network in networks.items()
    }

    def run(network: nn.Module) -> Tensor:
        with torch.autocast(device, dtype=autocast, enabled=autocast is not None):
            return network(clip)

    runs = {f"{alpha:g}": partial(run, network) for alpha, network in placed.items()}
    timings = interleave(runs, rounds=rounds, warmup=2, device=device, clock=clock)
    return {alpha: 1000 * timings[f"{alpha:g}"].median for alpha in placed}
