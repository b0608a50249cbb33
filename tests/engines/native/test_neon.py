"""The kernels of aarch64 and their bounds, in programs of their own: cross-compiled, and watched by a sanitizer."""

import shutil
import subprocess
from pathlib import Path

import pytest

from octvideo.engines.native import build

PROGRAM = Path(__file__).with_name("neon.cpp")
FLAGS = ["-std=c++17", "-O1", "-ffp-contract=fast", "-Wno-psabi"]

pytestmark = pytest.mark.slow


@pytest.mark.skipif(
    not (shutil.which("aarch64-linux-gnu-g++") and shutil.which("qemu-aarch64")),
    reason="needs g++-aarch64-linux-gnu and qemu-user",
)
def test_aarch64(tmp_path):
    program = tmp_path / "neon"
    compiler = ["aarch64-linux-gnu-g++", *FLAGS, *build._PROCESSORS["aarch64"], "-static"]
    subprocess.run([*compiler, str(PROGRAM), "-o", str(program)], check=True)
    subprocess.run(["qemu-aarch64", str(program)], check=True)


@pytest.mark.skipif(build._processor() not in build._PROCESSORS, reason="needs AVX2")
def test_nothing_beyond_the_tensors_is_read_or_written(tmp_path):
    program = tmp_path / "bounds"
    flags = [*FLAGS, *build._PROCESSORS[build._processor()], "-O0", "-fsanitize=address"]
    made = subprocess.run(["g++", *flags, str(PROGRAM), "-o", str(program)], capture_output=True, text=True)
    if made.returncode and "asan" in made.stderr:
        pytest.skip("there is no address sanitizer")
    assert made.returncode == 0, made.stderr
    subprocess.run([str(program)], check=True)
