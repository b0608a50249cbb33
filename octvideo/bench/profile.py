"""Where a network's time goes, by kind of operation: what explains its ratio to another's."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

# The first kind with a part of an operation's name has it. Names are torch's on the CPU, kernels' on a GPU.
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("fused by the compiler", ("cpp_fused", "triton_")),
    ("norm", ("batch_norm",)),
    ("convolution", ("conv", "gemm", "xmma", "cutlass", "wgrad", "dgrad", "mkl_linear", "addmm", "aten::mm")),
    ("pooling", ("pool",)),
    ("copies", ("copy", "cat", "clone", "fill", "zero", "memcpy", "memset")),
    ("addition, upsampling, ReLU", ("add", "upsample", "relu", "clamp", "threshold", "mul", "elementwise")),
)
OTHER = "everything else, Python included"
KINDS = (*(kind for kind, _ in _KINDS), OTHER)
_NUM_RUNS = 3


def name_compiled_kernels() -> None:
    """Let networks that are compiled from now on show their kernels to the profiler."""
    from torch._inductor import config  # half a second to import

    config.cpp.enable_kernel_profile = True


def kinds_of_time(run: Callable[[], object], device: str) -> dict[str, float]:
    """Seconds of one call by kind of operation, which add up to the call's time under the profiler.

    Args:
        run: called a few times; it has been called before.
        device: ``cpu`` or ``cuda``, whose operations are counted.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as profiler:
        start = time.perf_counter()
        for _ in range(_NUM_RUNS):
            run()
        if device == "cuda":
            torch.cuda.synchronize()
        whole = (time.perf_counter() - start) / _NUM_RUNS
    seconds = dict.fromkeys(KINDS, 0.0)
    for event in profiler.key_averages():
        kind = _kind(event.key)
        if kind != OTHER:
            seconds[kind] += _microseconds(event, device) / 1e6 / _NUM_RUNS
    seconds[OTHER] = max(whole - sum(seconds.values()), 0.0)
    return seconds


def _kind(name: str) -> str:
    name = name.lower()
    return next((kind for kind, parts in _KINDS if any(part in name for part in parts)), OTHER)


def _microseconds(event: Any, device: str) -> float:
    if (
        device == "cuda"
    ):  # kernels alone: torch's operations carry the time of the kernels that they start, too
        is_kernel = event.device_type == torch.autograd.DeviceType.CUDA
        return float(event.self_device_time_total) if is_kernel else 0.0
    return float(event.self_cpu_time_total)
