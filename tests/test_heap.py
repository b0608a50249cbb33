import subprocess
import sys

import pytest

# Page faults of a process that takes and frees 64 MB twenty times, touching each page.
FAULTS = """
import resource, sys
import torch
from octvideo.heap import keep_freed_memory, return_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
elif sys.argv[1] == "return":
    assert keep_freed_memory() and return_freed_memory()
for _ in range(20):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    run = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the settings are glibc's")
def test_freed_memory_is_kept_or_returned() -> None:
    default = faults("default")
    assert default > 1000
    assert faults("keep") < default / 20
    assert faults("return") > default / 2
