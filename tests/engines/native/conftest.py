"""The kernels of every processor, on this one: vectors of any width are lowered to those that are there."""

import platform

import pytest
import torch

from octvideo.engines.native import build

_PROCESSORS = {"AVX512": 16, "AVX2": 8, "aarch64": 4}


@pytest.fixture(
    params=[
        "own",
        # Compiled anew, and for vectors of 16 numbers that takes minutes.
        *(pytest.param(name, marks=[pytest.mark.slow, pytest.mark.soak]) for name in _PROCESSORS),
    ]
)
def processor(request, monkeypatch):
    """A processor whose kernels run, with the vectors that it has."""
    if request.param == "own":
        if (reason := build.missing(torch.float32)) is not None:
            pytest.skip(reason)
        yield build._processor()
        return
    if platform.machine() != "x86_64" or torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("needs AVX2")
    flags = (f"-DWIDTH={_PROCESSORS[request.param]}", "-DBFLOAT16", "-mavx2", "-mfma", "-O1")
    monkeypatch.setattr(build, "_FLAGS", tuple(flag for flag in build._FLAGS if flag != "-O3"))
    monkeypatch.setitem(build._PROCESSORS, build._processor(), flags)
    build.library.cache_clear()
    yield request.param
    build.library.cache_clear()
