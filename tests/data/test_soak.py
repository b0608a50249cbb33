"""Memory over many opened videos, in a process of its own."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from octvideo.data.decode import open_video

def resident():
    # Without the pages of libraries, which come and go with the machine's needs.
    with open("/proc/self/statm") as statm:
        all_pages, shared = map(int, statm.read().split()[1:3])
    return (all_pages - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20

def opened(times):
    for number in range(times):
        with open_video(sys.argv[1], decoder=sys.argv[2]) as video:
            video.frames_at([number % video.num_frames])
    return resident()

opened(2000)
before = resident()
print(opened(int(sys.argv[3])) - before)
"""


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_memory_is_flat_over_20000_opens(make_video, tmp_path, decoder):
    path = make_video(tmp_path / "a.mp4", num_frames=20)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), decoder, "20000"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 16, "MiB more than after the first 2000"
