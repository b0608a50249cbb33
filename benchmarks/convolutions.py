"""What limits octave convolutions on a CPU: `python -m benchmarks.convolutions`.

The 3x3 convolutions of I3D's first stage, 8 frames of 56 x 56, for the numbers of channels that alphas leave, as
`octvideo.optimize` runs them; and a convolution of almost nothing, whose time is that of the call. Times are medians of
interleaved rounds, as ratios to 64 channels.
"""

from collections.abc import Callable

import torch

from octvideo.bench.timing import interleave, ratio
from octvideo.layers.fused import FusedConv

# Channels into and out of the path from high to high: dense, alpha 0.125, 0.25 and 0.5; then into full vectors of 16.
CHANNELS = ((64, 64), (56, 56), (48, 48), (32, 32), (56, 64))


def call(channels_in: int, channels_out: int, side: int, dtype: torch.dtype) -> Callable[[], object]:
    """A 3x3 convolution over 8 frames."""
    weight = torch.randn(channels_out, channels_in, 1, 3, 3, dtype=dtype)
    conv = FusedConv(weight, None, (1, 1, 1), (0, 1, 1), (1, 1, 1), 1)
    clip = torch.randn(1, channels_in, 8, side, side).to(dtype, memory_format=torch.channels_last_3d)
    return lambda: conv(clip)


def main() -> None:
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        runs = {f"{i} to {o} channels": call(i, o, 56, dtype) for i, o in CHANNELS}
        with torch.no_grad():
            timings = interleave(runs, rounds=31, warmup=3)
            # A call is too short to be timed alone.
            small = call(16, 16, 2, dtype)
            thousand = interleave({"": lambda run=small: [run() for _ in range(1000)]}, rounds=5)[""]  # type: ignore[misc]
        dense = timings["64 to 64 channels"]
        for (channels_in, channels_out), (label, timing) in zip(CHANNELS, timings.items(), strict=True):
            flops = channels_in * channels_out / 64**2
            print(f"{name}, {label}: time {ratio(timing, dense)}, FLOPs {flops:.2f}")
        print(f"{name}, a call: {1000 * thousand.median:.0f} microseconds")


if __name__ == "__main__":
    main()
