"""The kernels as a library, compiled where they are first used, and when they may run."""

import ctypes
import functools
import logging
import os
import platform
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch.profiler import record_function

from octvideo.kernels.cache import KernelBuildError, compiled
from octvideo.kernels.problem import check_sizes

_SOURCES = [
    Path(__file__).parent / name
    for name in ("problem.h", "vectors.h", "convolve.h", "weight_gradient.h", "weights.h", "kernels.cpp")
]
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp", "-ffp-contract=fast", "-Wno-psabi")
# By what torch calls a processor: numbers of a vector, and what makes the compiler use such.
_PROCESSORS = {
    "AVX512": ("-DWIDTH=16", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"),
    "AVX2": ("-DWIDTH=8", "-mfma", "-mavx2"),
    "aarch64": ("-DWIDTH=4",),
}
_BFLOAT16 = ("-DBFLOAT16", "-mavx512bf16")
_log = logging.getLogger(__name__)


@functools.cache
def missing(dtype: torch.dtype) -> str | None:
    """Why the kernels for such numbers cannot run here; None where they can.

    Those for bfloat16 need AVX-512's instructions on that type; processors with AMX multiply it faster than these.
    ``ATEN_CPU_CAPABILITY``, torch's own switch, chooses among a processor's abilities; ``default`` turns these off. The
    first call compiles them: a compiler that fails, which is logged, is a reason like any other.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        return f"there are none for {dtype}"
    if _processor() not in _PROCESSORS:
        return "the processor has neither AVX2 nor AVX-512"
    if dtype == torch.bfloat16:
        if not _has_bfloat16():
            return "the processor has no AVX-512 instructions for bfloat16"
        if torch.cpu._is_amx_tile_supported():
            return "oneDNN is faster on a processor with AMX"
    if _compiler() is None:
        return "there is no g++ to compile them"
    try:
        library()
    except KernelBuildError as error:
        _log.warning("octvideo's CPU kernels are not used: %s", error)
        return str(error).splitlines()[0]
    return None


def type_name(dtype: torch.dtype) -> str:
    """Of a type of number, in the names of the kernels' functions: float32."""
    return str(dtype).removeprefix("torch.")


def shown(name: str) -> AbstractContextManager[object]:
    """A kernel's call as the profiler shows it, where one is running."""
    return record_function(name) if torch.autograd.profiler._is_profiler_enabled else nullcontext()


@functools.cache
def library() -> ctypes.CDLL:
    """The functions of kernels.cpp for this processor, compiled where that was not done yet (seconds).

    Raises:
        KernelBuildError: the compiler refused, which `missing` says beforehand.
    """
    compiler = _compiler()
    assert compiler is not None
    flags = _PROCESSORS[_processor()] + (_BFLOAT16 if _has_bfloat16() else ())
    loaded = compiled("kernels", [compiler, *_FLAGS, *flags], _SOURCES)
    check_sizes(loaded)
    return loaded


def _processor() -> str:
    machine = platform.machine()
    return torch.backends.cpu.get_cpu_capability() if machine == "x86_64" else machine


def _has_bfloat16() -> bool:
    # torch asks for F, BW, VL, DQ and FMA, as these kernels do.
    return _processor() == "AVX512" and torch.cpu._is_avx512_bf16_supported()


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX") or "g++")
