"""What a user has who installs the wheel: built, put into an environment of its own, used away from the checkout."""

import os
import shutil
import site
import subprocess
import sys
import venv
from importlib.metadata import Distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

CHECKOUT = Path(__file__).parents[1]
SOURCES = ("octvideo", "data_prep", "configs", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
pytestmark = pytest.mark.slow


def run(*words: object, cwd: Path) -> str:
    """What a command prints; it has neither the checkout nor this environment on its path."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def pip(*words: object, cwd: Path) -> None:
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", *words, cwd=cwd)


OFFLINE = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy, since a build leaves files beside the sources."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        kept = shutil.ignore_patterns("__pycache__", "*.egg-info")
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, folder / name, symlinks=True, ignore=kept)
        else:
            shutil.copy(CHECKOUT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    pip("wheel", source, *OFFLINE, "--wheel-dir", source / "dist", cwd=source)
    (file,) = (source / "dist").glob("octvideo-*.whl")
    return file


def environment(folder: Path) -> Path:
    """A virtual environment that sees this one's packages, but not its octvideo; returns its site-packages."""
    venv.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A folder in a .pth file is searched last, and its own .pth files are not read.
    (packages / "shared.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return packages


def test_the_wheel_is_whole(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    for name in (
        "octvideo/py.typed",
        "octvideo/models/figures.json",
        "octvideo/pages/test.html",
        "octvideo/pages/page.html",
        "octvideo/engines/native/kernels.cpp",
        "octvideo/prep/motions/__main__.py",
        "octvideo/prep/_worker.py",
        "octvideo/configs/demo.yaml",
        "octvideo/configs/train.sbatch",
    ):
        assert name in names
    shipped = {name.removeprefix("octvideo/configs/") for name in names if name.endswith(".yaml")}
    assert shipped == {
        file.relative_to(CHECKOUT / "configs").as_posix() for file in CHECKOUT.glob("configs/**/*.yaml")
    }
    assert {name.split("/")[0].split("-")[0] for name in names} == {"octvideo"}  # nothing else at the top
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_is_used_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    packages = environment(tmp_path / "venv")
    python, octvideo = (tmp_path / "venv" / "bin" / name for name in ("python", "octvideo"))
    pip("--python", python, "install", *OFFLINE, wheel, cwd=tmp_path)
    here = tmp_path / "here"
    here.mkdir()
    where = run(
        python, "-c", "import octvideo; print(octvideo.__file__, len(octvideo.models.MODELS))", cwd=here
    )
    assert where.startswith(str(packages))
    metadata = Distribution.at(next(packages.glob("octvideo-*.dist-info"))).metadata
    assert "Apache-2.0" in (metadata["License-Expression"], metadata["License"])
    assert metadata["Author-email"]
    assert len(metadata.get_all("Classifier")) > 5

    data = "runs/demo/data"
    small = ["--num-train", "4", "--num-val", "2", "--num-test", "2", "--jobs", "1"]
    run(octvideo, "prep", "motions", data, *small, cwd=here)
    assert "ok" in run(
        octvideo, "prep", "check", f"{data}/videos", "--out", "checked", "--jobs", "1", cwd=here
    )
    short = ["--trainer.max_epochs=3", "--data.batch_size=2", "--data.num_workers=0"]
    run(octvideo, "fit", "--config", "demo", *short, "--trainer.accelerator=cpu", cwd=here)
    run(octvideo, "test", "--config", "demo", "--ckpt_path", "best", "--trainer.accelerator=cpu", cwd=here)
    video = f"{data}/videos/test_00000.mp4"
    assert "%  " in run(octvideo, "predict", "runs/demo/checkpoints/best.ckpt", video, cwd=here)
    assert "i3d_r50" in run(octvideo, "models", cwd=here)


def test_an_editable_install_is_a_folder_that_mypy_follows(source: Path, tmp_path: Path) -> None:
    """A module that finds packages while it runs (setuptools' other way) is nothing that mypy or an editor sees."""
    packages = environment(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    pip("--python", python, "install", *OFFLINE, "--editable", source, cwd=tmp_path)
    (link,) = packages.glob("__editable__*")
    assert link.read_text().strip() == str(source)
    assert run(python, "-c", "import octvideo; print(octvideo.__file__)", cwd=tmp_path).startswith(
        str(source)
    )
