"""What the card can do at best: a copy, a matrix product, cuDNN's convolutions at the channels that alphas leave."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks.gpu.lab import Lab
from octvideo.timing import Timing, interleave, ratio

# Dense numbers of channels and what alpha .1, .125 and .25 leave of them: 58 and 231 are no multiples of 8.
NARROW, WIDE = (64, 58, 56, 48), (256, 231, 224, 192)
KERNELS = {"1x1": ((1, 1), (0, 0)), "3x3": ((3, 3), (1, 1)), "3x1": ((3, 1), (1, 0))}


def copy(lab: Lab) -> None:
    numbers = lab.pick(2**31, 2**20)
    source = torch.randn(numbers // 2, device=lab.device).to(torch.bfloat16)
    target = torch.empty_like(source)
    timing = _time(lab, {"copy": lambda: target.copy_(source)})["copy"]
    lab.note("copy", tb_per_s=2 * source.nbytes / timing.median / 1e12, ms=1e3 * timing.median)


def product(lab: Lab) -> None:
    side = lab.pick(8192, 128)
    a, b = (torch.randn(side, side, device=lab.device).to(torch.bfloat16) for _ in range(2))
    timing = _time(lab, {"product": lambda: a @ b})["product"]
    lab.note(f"product of {side}", tflops=2 * side**3 / timing.median / 1e12, ms=1e3 * timing.median)


def convolutions(lab: Lab) -> None:
    """As many channels out as in, over the maps of I3D's stages: 32 clips of 8 frames, channels-last, bfloat16."""
    for channels, side in ((NARROW, lab.pick(56, 6)), (WIDE, lab.pick(28, 3))):
        for name, (kernel, padding) in KERNELS.items():
            runs = {
                str(number): _convolution(lab, number, side, kernel, padding)
                for number in lab.pick(channels, channels[:2])
            }
            timings = _time(lab, runs)
            for number, timing in timings.items():
                pixels = lab.pick(256, 1) * side**2
                flops = 2 * pixels * int(number) ** 2 * kernel[0] * kernel[1]
                moved = 2 * pixels * int(number) * 2  # bytes read and written
                lab.note(
                    f"{name}, {number} channels, {side} x {side}",
                    ms=1e3 * timing.median,
                    tflops=flops / timing.median / 1e12,
                    tb_per_s=moved / timing.median / 1e12,
                    time=str(ratio(timing, timings[str(channels[0])])),
                )


def epilogues(lab: Lab) -> None:
    """Bias, addition and ReLU behind a convolution: one by one, and in cuDNN's own call."""
    side = lab.pick(56, 6)
    x = _map(lab, 64, side)
    other = torch.randn_like(x)
    weight = torch.randn(64, 64, 3, 3, device=lab.device).to(x.dtype, memory_format=torch.channels_last)
    bias = torch.randn(64, device=lab.device).to(x.dtype)
    runs: dict[str, Callable[[], object]] = {
        "convolution": lambda: F.conv2d(x, weight, None, 1, 1),
        "bias, addition, ReLU one by one": lambda: F.conv2d(x, weight, bias, 1, 1).add_(other).relu_(),
    }
    if lab.device == "cuda":
        ones = ([1, 1], [1, 1], [1, 1], 1)
        runs["cudnn_convolution_add_relu"] = lambda: torch.ops.aten.cudnn_convolution_add_relu(
            x, weight, other, 1.0, bias, *ones
        )
    timings = _time(lab, runs)
    for name, timing in timings.items():
        lab.note(name, ms=1e3 * timing.median, time=str(ratio(timing, timings["convolution"])))


def _map(lab: Lab, channels: int, side: int) -> torch.Tensor:
    x = torch.randn(lab.pick(256, 1), channels, side, side, device=lab.device)
    return x.to(torch.bfloat16, memory_format=torch.channels_last)


def _convolution(
    lab: Lab, channels: int, side: int, kernel: tuple[int, int], padding: tuple[int, int]
) -> Callable[[], object]:
    x = _map(lab, channels, side)
    weight = torch.randn(channels, channels, *kernel, device=lab.device)
    weight = weight.to(torch.bfloat16, memory_format=torch.channels_last)
    return lambda: F.conv2d(x, weight, None, 1, padding)


def _time(lab: Lab, runs: dict[str, Callable[[], object]]) -> dict[str, Timing]:
    """Ten calls at a time, since one is short beside the wait for it."""

    def ten(run: Callable[[], object]) -> Callable[[], None]:
        def times() -> None:
            for _ in range(10):
                run()

        return times

    with torch.no_grad():
        found = interleave(
            {name: ten(run) for name, run in runs.items()},
            rounds=lab.pick(21, 2), warmup=lab.pick(3, 1), device=lab.device,
        )  # fmt: skip
    return {name: Timing(tuple(s / 10 for s in timing.seconds)) for name, timing in found.items()}


PARTS = {"copy": copy, "product": product, "convolutions": convolutions, "epilogues": epilogues}
