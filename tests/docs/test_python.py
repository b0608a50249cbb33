"""The Python of the first pages runs as it is typed, and what its comments claim is so."""

import re
import subprocess
import sys

import pytest

from tests.docs.commands import CHECKOUT

_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_python_runs_as_typed(page: str) -> None:
    """The blocks of a page, one after the other in one process; README's says how much less there is to compute."""
    text = (CHECKOUT / page).read_text()
    counted = "from octvideo.models import count_macs\nshape = (1, 3, 8, 224, 224)\n"
    counted += "print(100 * (1 - count_macs(octave, shape) / count_macs(dense, shape)))\n"
    typed = "\n".join([*_BLOCK.findall(text), counted])
    ran = subprocess.run([sys.executable, "-c", typed], capture_output=True, text=True, cwd=CHECKOUT)
    assert ran.returncode == 0, ran.stderr[-3000:]
    for claimed in re.findall(r"(\d+) % fewer multiply-adds", text):
        assert int(claimed) == round(float(ran.stdout.splitlines()[-1]))


def test_the_first_screen_is_three_lines_of_python() -> None:
    first, *_ = _BLOCK.findall((CHECKOUT / "README.md").read_text())
    assert len([line for line in first.splitlines() if line]) == 3
    compile(first, "README.md", "exec")
