"""What becomes of tests marked gpu: skipped, rehearsed on the CPU, or failed where they were to show something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
TESTS = """
import pytest
pytestmark = pytest.mark.gpu

def test_that_skips():
    pytest.skip("no libnvcuvid")

def test_device(device):
    assert device == "cpu"
"""


@pytest.mark.parametrize(
    ("settings", "outcomes"),
    [
        ({}, "2 skipped"),
        ({"OCTVIDEO_REHEARSE_GPU": "1"}, "1 passed, 1 skipped"),
        # As on a machine whose GPU is there, while what the test needs of it is not.
        ({"OCTVIDEO_REHEARSE_GPU": "1", "OCTVIDEO_REQUIRE_GPU": "1"}, "1 failed, 1 passed"),
        ({"OCTVIDEO_REQUIRE_GPU": "1", "CUDA_VISIBLE_DEVICES": ""}, "2 errors"),
    ],
    ids=["no GPU", "rehearsed", "required", "required, no GPU"],
)
def test_gpu_tests(tmp_path, settings, outcomes):
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text("from tests.conftest import *  # noqa: F403")
    others = {name: value for name, value in os.environ.items() if not name.startswith("OCTVIDEO_RE")}
    environment = {**others, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(CHECKOUT), **settings}
    options = ["-q", "-c", str(CHECKOUT / "setup.cfg"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert outcomes in done.stdout.splitlines()[-1], done.stdout
    if outcomes == "1 failed, 1 passed":
        assert "OCTVIDEO_REQUIRE_GPU=1, but the test skips: Skipped: no libnvcuvid" in done.stdout
