"""The notebooks: what is kept in them is whole, and they run from top to bottom."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def outputs(path: Path) -> list:
    cells = nbformat.read(path, as_version=4).cells
    return [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pictures_are_kept_and_no_error(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    kept = outputs(path)
    assert any("image/png" in output.get("data", {}) for output in kept)
    assert not [output.get("evalue", output.get("text")) for output in kept if output.output_type == "error"]
    assert not [output.text for output in kept if output.get("name") == "stderr"]
    assert path.stat().st_size < 1_500_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_were_run_in_order_and_define_nothing(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    lines = [line for cell in cells for line in cell.source.splitlines()]
    assert not [line for line in lines if line.startswith(("def ", "class "))]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path: Path, monkeypatch) -> None:
    """On a few videos and steps; the outputs that are kept come from whole runs."""
    monkeypatch.setenv("OCTVIDEO_NOTEBOOKS", "small")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(FOLDER)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
