"""Copies of videos with their labels: what a full disk leaves."""

import subprocess
import sys
from pathlib import Path

WRITE = """
import resource
import numpy as np
from octvideo.evaluation.labelled_video import write_labelled_video
# Files may not grow past this, which programs meet as they meet a full disk.
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
noise = np.random.default_rng(0)
frames = ((n / 30, noise.integers(0, 255, (96, 96, 3), dtype=np.uint8)) for n in range(30))
write_labelled_video({file!r}, frames, lambda seconds: [("left", 0.5)], fps=30)
"""


def test_a_full_disk_leaves_the_copy_before_and_names_it(tmp_path: Path) -> None:
    """`octvideo predict --save_video true`; the file has ended at once, within its frames, and at its very end."""
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(b"the one before")
    for limit in (10, 20_000, 200_000):
        code = WRITE.format(limit=limit, file=str(copy))
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
        assert run.stderr.splitlines()[-1] == f"OSError: [Errno 27] File too large: '{copy}'"
        assert copy.read_bytes() == b"the one before"
        assert [file.name for file in tmp_path.iterdir()] == ["copy.mp4"]
