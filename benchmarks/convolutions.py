"""Octave convolutions one by one, by octvideo's kernels and by oneDNN: `python -m benchmarks.convolutions`.

Convolutions of I3D's first stage, 8 frames of 56 x 56, for the numbers of channels that alphas leave of the dense ones,
as `octvideo.optimize` runs them. Times are medians of interleaved rounds: ratios to the dense convolution run the same
way, and ours over oneDNN's.
"""

from collections.abc import Callable

import torch

from octvideo.engines import onednn
from octvideo.engines.geometry import Geometry
from octvideo.engines.native import engine as native
from octvideo.engines.native.build import missing
from octvideo.heap import keep_freed_memory
from octvideo.timing import interleave, ratio

# Kernel, and channels into and out of the path from high to high: dense, alpha 0.125, 0.25 and 0.5.
CASES = {
    "1x3x3": ((1, 3, 3), ((64, 64), (56, 56), (48, 48), (32, 32))),
    "3x1x1": ((3, 1, 1), ((256, 64), (224, 56), (192, 48), (128, 32))),
    "1x1x1": ((1, 1, 1), ((64, 256), (56, 224), (48, 192), (32, 128))),
}


def call(
    kernel: tuple[int, ...], channels: tuple[int, int], dtype: torch.dtype, own: bool
) -> Callable[[], object]:
    """A convolution over 8 frames."""
    weight = torch.randn(channels[1], channels[0], *kernel, dtype=dtype)
    padding = tuple(k // 2 for k in kernel)
    geometry = Geometry((1, 1, 1), padding, (1, 1, 1), 1)
    conv = (native if own else onednn).Sum([weight], None, [geometry])
    clip = torch.randn(1, channels[0], 8, 56, 56).to(dtype, memory_format=torch.channels_last_3d)
    return lambda: conv([clip])


def main() -> None:
    keep_freed_memory()
    print("| | FLOPs | octvideo | oneDNN | octvideo / oneDNN |\n|---|---|---|---|---|")
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        if (reason := missing(dtype)) is not None:
            print(f"| {name} | {reason} |")
            continue
        for label, (kernel, cases) in CASES.items():
            runs = {f"{c} {own}": call(kernel, c, dtype, own) for c in cases for own in (True, False)}
            with torch.no_grad():
                timings = interleave(runs, rounds=31, warmup=3)
            for channels in cases:
                ours, others = (timings[f"{channels} {own}"] for own in (True, False))
                dense = [timings[f"{cases[0]} {own}"] for own in (True, False)]
                flops = channels[0] * channels[1] / (cases[0][0] * cases[0][1])
                cells = (f"{flops:.2f}", ratio(ours, dense[0]), ratio(others, dense[1]), ratio(ours, others))
                what = f"{name}, {label}, {channels[0]} to {channels[1]}"
                print(f"| {what} | " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
