"""The kernels as libraries, compiled where they are first used, and when they may run."""

import ctypes
import functools
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch.autograd import forward_ad
from torch.profiler import record_function
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from octvideo.kernels.cache import KernelBuildError, compiled

_SOURCES = Path(__file__).parent
_FLAGS = (
    *("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp"),
    *("-mfma", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"),
)
_log = logging.getLogger(__name__)
# The type in C++, what it asks of the compiler, and what is compiled for it.
_NUMBERS = {
    torch.float32: ("Float32", (), ("convolve", "weight_gradient", "weights")),
    torch.bfloat16: ("BFloat16", ("-mavx512bf16",), ("convolve",)),
}


@functools.cache
def missing(dtype: torch.dtype) -> str | None:
    """Why the kernels for such numbers cannot run here; None where they can.

    They are written for AVX-512, bfloat16 for its instructions on that type. Processors with AMX multiply bfloat16
    faster than these. ``ATEN_CPU_CAPABILITY=avx2``, torch's own switch, turns them off. The first call compiles them
    all: a compiler that fails, which is logged, is a reason like any other.
    """
    if dtype not in _NUMBERS:
        return f"there are none for {dtype}"
    # torch asks for F, BW, VL, DQ and FMA, as these kernels do.
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "the processor has no AVX-512"
    if dtype == torch.bfloat16:
        if not torch.cpu._is_avx512_bf16_supported():
            return "the processor has no AVX-512 instructions for bfloat16"
        if torch.cpu._is_amx_tile_supported():
            return "oneDNN is faster on a processor with AMX"
    if _compiler() is None:
        return "there is no g++ to compile them"
    try:
        names = _NUMBERS[dtype][2]
        with ThreadPoolExecutor(len(names)) as pool:  # the compiler is a process of its own
            list(pool.map(lambda name: library(name, dtype), names))
    except KernelBuildError as error:
        _log.warning("octvideo's CPU kernels are not used: %s", error)
        return str(error).splitlines()[0]
    return None


def runs_plainly(x: torch.Tensor) -> bool:
    """Whether kernels that torch knows nothing of may take this tensor: on the CPU, in eager mode, nothing watching."""
    return (
        not torch.compiler.is_compiling()
        and type(x) in (torch.Tensor, torch.nn.Parameter)
        and x.device.type == "cpu"
        and not torch.jit.is_tracing()
        and not _get_current_dispatch_mode_stack()  # counting FLOPs, exporting, fake tensors
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
    )


def shown(name: str) -> AbstractContextManager[object]:
    """A kernel's call as the profiler shows it, where one is running."""
    return record_function(name) if torch.autograd.profiler._is_profiler_enabled else nullcontext()


@functools.cache
def library(name: str, dtype: torch.dtype) -> ctypes.CDLL:
    """The functions of ``name.cpp`` for such numbers, compiled where that was not done yet (seconds).

    Raises:
        KernelBuildError: the compiler refused, which `missing` says beforehand.
    """
    number, flags, _ = _NUMBERS[dtype]
    compiler = _compiler()
    assert compiler is not None
    command = [compiler, *_FLAGS, *flags, f"-DNUMBER={number}"]
    return compiled(f"{name}_{number.lower()}", command, [_SOURCES / "vectors.h", _SOURCES / f"{name}.cpp"])


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX") or "g++")
