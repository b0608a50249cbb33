"""Compiling the kernels: once for a machine, where they are first used."""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch.autograd import forward_ad
from torch.profiler import record_function
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from octvideo.kernels.problem import SIZES

_HEADERS = [Path(__file__).parent / name for name in ("problem.h", "vectors.h")]
_UNITS = [Path(__file__).parent / f"{name}.cpp" for name in ("convolve", "weight_gradient", "weights")]
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp", "-ffp-contract=fast", "-Wno-psabi")
# For what torch calls a processor: numbers of a vector, and what makes the compiler use them.
_PROCESSORS = {
    "AVX512": (16, ("-mfma", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq")),
    "AVX2": (8, ("-mfma", "-mavx2")),
    "aarch64": (4, ()),
}
_log = logging.getLogger(__name__)
_WITHOUT = "ATEN_CPU_CAPABILITY=default does without"


class KernelBuildError(RuntimeError):
    """The kernels could not be compiled: the command and what it said."""


@functools.cache
def missing(dtype: torch.dtype) -> str | None:
    """Why the kernels for such numbers cannot run here; None where they can.

    Those for bfloat16 need AVX-512's instructions on that type, and processors with AMX multiply it faster than these.
    ``ATEN_CPU_CAPABILITY``, torch's own switch, chooses among a processor's abilities, ``default`` none of them.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        return f"there are none for {dtype}"
    if _processor() not in _PROCESSORS:
        return "the processor has no AVX2"
    if dtype == torch.bfloat16:
        # torch asks for F, BW, VL, DQ and FMA, as these kernels do.
        if _processor() != "AVX512" or not torch.cpu._is_avx512_bf16_supported():
            return "the processor has no AVX-512 instructions for bfloat16"
        if torch.cpu._is_amx_tile_supported():
            return "oneDNN is faster on a processor with AMX"
    return None if _compiler() else "there is no g++ to compile them"


def type_name(dtype: torch.dtype) -> str:
    """Of a type of number, in the names of the kernels' functions: float32."""
    return str(dtype).removeprefix("torch.")


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
def library() -> ctypes.CDLL:
    """The functions for this processor, compiled where that was not done yet (seconds).

    Raises:
        KernelBuildError: the compiler refused.
    """
    compiler = _compiler()
    assert compiler is not None
    width, flags = _PROCESSORS[_processor()]
    if missing(torch.bfloat16) is None:
        flags = (*flags, "-mavx512bf16", "-DBFLOAT16")
    command = [compiler, *_FLAGS, *flags, f"-DWIDTH={width}"]
    texts = [s.read_text() for s in (*_HEADERS, *_UNITS)]
    digest = hashlib.sha256("\n".join([*command, *texts]).encode())
    file = f"kernels_{digest.hexdigest()[:16]}.so"
    command = [*command, *map(str, _UNITS)]
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


def _processor() -> str:
    return torch.backends.cpu.get_cpu_capability() if platform.machine() == "x86_64" else platform.machine()


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX") or "g++")


@functools.cache
def _folder_of_this_process() -> tempfile.TemporaryDirectory[str]:
    """Nobody else can write there, and it goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="octvideo-kernels-")


def _load(command: list[str], file: Path) -> ctypes.CDLL:
    if not file.exists():
        _compile(command, file)
    loaded = ctypes.CDLL(str(file))
    for name, size in SIZES.items():
        if (found := getattr(loaded, name)()) != size:
            raise AssertionError(f"{file}: {name} is {found}, problem.py has {size}")
    return loaded


def _compile(command: list[str], file: Path) -> None:
    """Under another name first: several processes may do this at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder, file.name)
        run = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True)
        if run.returncode:
            raise KernelBuildError(f"{' '.join(command)} failed, {_WITHOUT}:\n{run.stderr.strip()}")
        made.replace(file)
