"""When the kernels run: the processor, the compiler and what it makes."""

import ctypes
import re

import pytest
import torch

from octvideo.engines.native import build, cache, problem

needs_kernels = pytest.mark.skipif(
    bool(build.missing(torch.float32)), reason=str(build.missing(torch.float32))
)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Nothing compiled, nothing remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remembered = [build.library, build.missing]
    for function in remembered:
        function.cache_clear()
    yield tmp_path
    for function in remembered:
        function.cache_clear()


@needs_kernels
def test_compiles_once(fresh, monkeypatch):
    assert build.library().convolve_float32
    (made,) = (fresh / "octvideo").iterdir()
    build.library.cache_clear()
    monkeypatch.setattr(cache, "_compile", lambda *args: pytest.fail("compiled again"))
    assert build.library().convolve_float32
    assert [made] == list((fresh / "octvideo").iterdir())


def test_a_compiler_that_fails_is_a_reason_and_logged_once(fresh, monkeypatch, caplog):
    """Training goes on with torch's own convolutions."""
    compiler = fresh / "g++"
    compiler.write_text("#!/bin/sh\necho no such option >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for _ in range(3):
        assert build.missing(torch.float32)
    assert re.fullmatch(f"{re.escape(str(compiler))} .* failed:", build.missing(torch.float32))
    assert caplog.text.count("no such option") == 1
    assert list((fresh / "octvideo").iterdir()) == []


def test_why_there_are_none(fresh, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(build, "_compiler", lambda: "g++")
    monkeypatch.setattr(build, "library", lambda: None)

    def why(dtype):
        build.missing.cache_clear()
        return build.missing(dtype)

    assert why(torch.float32) is None
    assert why(torch.bfloat16) is None
    assert "float16" in why(torch.float16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert "AMX" in why(torch.bfloat16)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert "bfloat16" in why(torch.bfloat16)
    assert why(torch.float32) is None
    monkeypatch.setattr(build, "_compiler", lambda: None)
    assert "g++" in why(torch.float32)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(build, "_compiler", lambda: "g++")
    assert why(torch.float32) is None
    assert "bfloat16" in why(torch.bfloat16)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    assert "AVX2" in why(torch.float32)


@needs_kernels
def test_structures_of_another_size_are_refused(monkeypatch):
    class Longer(problem.Layout):
        _fields_ = (("more", ctypes.c_int64),)

    monkeypatch.setattr(problem, "Layout", Longer)
    with pytest.raises(AssertionError, match=r"problem.h has \d+ bytes for Longer"):
        problem.check_sizes(build.library())
