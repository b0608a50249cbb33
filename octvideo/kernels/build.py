"""Compiling the kernels: once for a machine, where they are first used."""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch.autograd import forward_ad
from torch.profiler import record_function
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

_SOURCES = Path(__file__).parent
_FLAGS = (
    *("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp"),
    *("-mfma", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"),
)
_log = logging.getLogger(__name__)
_WITHOUT = "ATEN_CPU_CAPABILITY=avx2 does without"
_NUMBERS = {torch.float32: ("Float32", ()), torch.bfloat16: ("BFloat16", ("-mavx512bf16",))}


class KernelBuildError(RuntimeError):
    """The kernels could not be compiled: the command and what it said."""


@functools.cache
def missing(dtype: torch.dtype) -> str | None:
    """Why the kernels for such numbers cannot run here; None where they can.

    They are written for AVX-512, bfloat16 for its instructions on that type. Processors with AMX multiply bfloat16
    faster than these. ``ATEN_CPU_CAPABILITY=avx2``, torch's own switch, turns them off.
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
    return None if _compiler() else "there is no g++ to compile them"


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
        KernelBuildError: the compiler refused.
    """
    number, flags = _NUMBERS[dtype]
    compiler = _compiler()
    assert compiler is not None
    command = [compiler, *_FLAGS, *flags, f"-DNUMBER={number}"]
    sources = [_SOURCES / "vectors.h", _SOURCES / f"{name}.cpp"]
    digest = hashlib.sha256("\n".join([*command, *(s.read_text() for s in sources)]).encode())
    file = f"{name}_{number.lower()}_{digest.hexdigest()[:16]}.so"
    command = [*command, str(sources[-1])]
    try:
        return _load(command, cache_folder() / file)
    except OSError as error:
        _log.warning(
            "compiled kernels cannot be kept in %s (XDG_CACHE_HOME moves it), this process compiles its own: %s",
            cache_folder(),
            error,
        )
        return _load(command, Path(_folder_of_this_process().name, file))


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/octvideo``, ``~/.cache/octvideo`` where that is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")).absolute() / "octvideo"


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX") or "g++")


@functools.cache
def _folder_of_this_process() -> tempfile.TemporaryDirectory[str]:
    """Nobody else can write there, and it goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="octvideo-kernels-")


def _load(command: list[str], file: Path) -> ctypes.CDLL:
    if not file.exists():
        _compile(command, file)
    return ctypes.CDLL(str(file))


def _compile(command: list[str], file: Path) -> None:
    """Under another name first: several processes may do this at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder, file.name)
        run = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True)
        if run.returncode:
            raise KernelBuildError(f"{' '.join(command)} failed, {_WITHOUT}:\n{run.stderr.strip()}")
        made.replace(file)
