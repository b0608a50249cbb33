"""report.html in a real browser, without a network."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from octvideo.evaluation.metrics import confusion_matrix
from octvideo.evaluation.plots import plot_confusion
from octvideo.evaluation.report import NUM_MISTAKES, write_report
from octvideo.evaluation.results import write_results
from octvideo.evaluation.scores import VideoScores

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NAMES = ["<b>zooming</b> & in", "alpha", 'Ωmega "quoted"', "beta"]


@pytest.fixture
def page(tmp_path) -> Path:
    rng = np.random.default_rng(5)
    labels = np.array([0] * 20 + [1] * 9 + [2] * 12)  # no video of class 3
    probabilities = rng.dirichlet(np.ones(4) * 0.7, len(labels))
    scores = VideoScores(np.arange(41), labels, probabilities, [(41, "truncated <i>file</i>")], 30)
    paths = [f"/videos/{i}.mp4" for i in range(42)]
    extra = {"name": "i3d_r50", "alpha": 0.25, "gflops": 20.0, "dense_gflops": 28.4, "parameters": 28_000_000}
    metrics = write_results(tmp_path, scores, paths=paths, class_names=NAMES, extra=extra)
    plot_confusion(confusion_matrix(scores), NAMES, tmp_path / "confusion.png")

    def frames(path: str, count: int) -> np.ndarray:
        if path.endswith("7.mp4"):
            raise OSError(f"{path}: gone meanwhile")
        return np.full((count, 48, 64, 3), 90, dtype=np.uint8)

    write_report(
        tmp_path / "report.html", scores, metrics, paths=paths, class_names=NAMES, read_frames=frames
    )
    return tmp_path / "report.html"


def in_browser(page: Path, script: str) -> dict:
    """Runs a script after the page's own, which leaves `result`; a copy of the page, alone in its folder."""
    folder = page.parent / "alone"
    folder.mkdir(exist_ok=True)
    probe = f"<script>window.onload = () => {{ {script}; document.title = JSON.stringify(result); }}</script>"
    (folder / "page.html").write_text(page.read_text().replace("</body>", probe + "</body>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000"]
    command += [f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += ["--dump-dom", (folder / "page.html").as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", run.stdout, flags=re.DOTALL)
    assert title, run.stderr[-2000:]
    return json.loads(title[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


@pytest.mark.skipif(BROWSER is None, reason="needs a Chromium browser")
def test_page_shows_its_pictures_and_sorts(page: Path) -> None:
    result = in_browser(
        page,
        """
        const table = document.getElementById("classes");
        const column = i => [...table.tBodies[0].rows].map(row => row.cells[i].textContent);
        const press = i => table.tHead.rows[0].cells[i].querySelector("button").click();
        const result = {first: column(0)};
        press(0); result.by_name = column(0);
        press(1); result.by_videos = column(1);
        press(1); result.by_videos_falling = column(1);
        press(2); result.by_accuracy = column(2);
        press(2); result.by_accuracy_falling = column(2);
        result.pictures = [...document.images].map(i => i.complete && i.naturalWidth > 0);
        result.bold = document.querySelectorAll("td b, li i").length;
        result.text = document.body.innerText;
        """,
    )
    assert result["first"] == NAMES  # names are text, not markup
    assert result["bold"] == 0
    assert result["by_name"][0] != NAMES[2]
    assert result["by_videos"] == ["0", "9", "12", "20"]
    assert result["by_videos_falling"] == ["20", "12", "9", "0"]
    shares = [float(text.rstrip("%")) for text in result["by_accuracy"][:3]]
    assert shares == sorted(shares)
    assert result["by_accuracy"][3] == result["by_accuracy_falling"][3] == ""  # no videos: last both ways
    assert result["by_accuracy_falling"][:3] == result["by_accuracy"][:3][::-1]
    assert len(result["pictures"]) > 10
    assert all(result["pictures"])
    for text in ("41 of 42", "truncated <i>file</i>", "20 (dense 28.4)", "gone meanwhile"):
        assert text in result["text"]


def test_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,20})', text)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert "http" not in text
    assert 5 < text.count("<figure>") <= NUM_MISTAKES


def test_page_without_labels(tmp_path) -> None:
    scores = VideoScores(np.arange(2), np.full(2, -1), np.full((2, 3), 1 / 3), [], 1)
    metrics = write_results(tmp_path, scores, paths=["/a.mp4", "/b.mp4"], class_names=None)
    write_report(tmp_path / "report.html", scores, metrics, paths=["/a.mp4", "/b.mp4"], class_names=None)
    text = (tmp_path / "report.html").read_text()
    assert "quick, not the published protocol" in text
    assert "Most confused" not in text


@pytest.mark.skipif(BROWSER is None, reason="needs a Chromium browser")
def test_classes_are_filtered_and_show_that_they_sort(page: Path) -> None:
    script = """
      const field = document.querySelector("input[data-filters=classes]");
      const rows = [...document.querySelectorAll("#classes tbody tr")];
      const shown = () => rows.filter(r => !r.hidden).map(r => r.cells[0].textContent);
      const sign = getComputedStyle(document.querySelector("#classes th button"), "::after").content;
      field.value = "ZOOM"; field.dispatchEvent(new Event("input"));
      const some = shown(), count = field.nextElementSibling.textContent;
      field.value = ""; field.dispatchEvent(new Event("input"));
      const result = {sign, some, count, all: shown().length};
    """
    found = in_browser(page, script)
    assert "↕" in found["sign"]
    assert NAMES[0] in found["some"]
    assert len(found["some"]) < 4 == found["all"]
    assert found["count"] == f"{len(found['some'])} of 4"


def test_pictures_are_readable_on_a_dark_page(page: Path) -> None:
    """Figures are black on transparent or white: they get a white ground; the accent has a lighter shade."""
    text = page.read_text()
    assert "background: #fff" in text
    assert "light-dark(#2b5c8a" in text
