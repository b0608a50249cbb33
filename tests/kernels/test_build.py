"""Compiling the kernels: once, and with a clear word where it fails."""

import re
import tempfile
from pathlib import Path

import pytest
import torch

from octvideo.kernels import build

needs_kernels = pytest.mark.skipif(
    bool(build.missing(torch.float32)), reason=str(build.missing(torch.float32))
)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Nothing compiled, nothing remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.library.cache_clear()
    build.missing.cache_clear()
    yield tmp_path
    build.library.cache_clear()
    build.missing.cache_clear()


@needs_kernels
def test_compiles_once(fresh, monkeypatch):
    assert build.library("convolve", torch.float32).convolve
    (made,) = (fresh / "octvideo").iterdir()
    build.library.cache_clear()
    monkeypatch.setattr(build, "_compile", lambda *args: pytest.fail("compiled again"))
    assert build.library("convolve", torch.float32).convolve
    assert [made] == list((fresh / "octvideo").iterdir())


@needs_kernels
def test_a_compiler_that_fails(fresh, monkeypatch):
    compiler = fresh / "g++"
    compiler.write_text("#!/bin/sh\necho no such option >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(
        build.KernelBuildError, match=f"{re.escape(str(compiler))} .*ATEN_CPU_CAPABILITY.*\nno such option"
    ):
        build.library("convolve", torch.float32)
    assert list((fresh / "octvideo").iterdir()) == []


@needs_kernels
def test_without_a_folder_to_keep_them_a_process_has_its_own(fresh, monkeypatch, caplog):
    (fresh / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "file"))
    own = tempfile.TemporaryDirectory(dir=fresh)
    monkeypatch.setattr(build, "_folder_of_this_process", lambda: own)
    assert build.library("weights", torch.float32).pack
    assert [file.suffix for file in Path(own.name).iterdir()] == [".so"]
    assert f"{fresh}/file/octvideo (XDG_CACHE_HOME moves it)" in caplog.text


def test_why_there_are_none(fresh, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(build, "_compiler", lambda: "g++")

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
    assert "AVX-512" in why(torch.float32)
