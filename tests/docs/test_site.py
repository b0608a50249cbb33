"""The documentation builds without a warning, and its figures are those that the notebooks keep."""

import base64
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.docs.commands import CHECKOUT


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    """The pages outside the site; a link's anchor is a heading."""
    file = CHECKOUT / page
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (file.parent / path) if path else file
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings], target


def test_where_things_go_is_where_they_are() -> None:
    """CONTRIBUTING's table: every file and folder that it names is there."""
    text = (CHECKOUT / "CONTRIBUTING.md").read_text()
    table = text.split("## Where things go")[1].split("\n## ")[0]
    named = re.findall(r"`([\w./]+(?:\.py|\.md|/))`", table)
    assert len(named) > 20
    assert not [
        name for name in named if not any((CHECKOUT / at / name).exists() for at in ("octvideo", "."))
    ]


@pytest.mark.slow
def test_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-3000:]
    page = (tmp_path / "how_it_works" / "index.html").read_text()
    assert "figures/01_octave_convolution/paths.png" in page
    cells = json.loads((CHECKOUT / "notebooks" / "01_octave_convolution.ipynb").read_text())["cells"]
    (cell,) = (cell for cell in cells if cell["id"] == "paths")
    kept = base64.b64decode("".join(cell["outputs"][-1]["data"]["image/png"]))
    assert (tmp_path / "figures" / "01_octave_convolution" / "paths.png").read_bytes() == kept
    assert "optuna" in (tmp_path / "your_own" / "index.html").read_text()  # an example taken from a file
    assert "stylesheets/site.css" in page
    for package in ("layers", "models", "data", "viz"):
        shown = (tmp_path / "api" / package / "index.html").read_text()
        names = import_module(f"octvideo.{package}").__all__
        assert not [name for name in names if f">{name}<" not in shown]
