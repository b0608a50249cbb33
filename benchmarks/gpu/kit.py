"""What is carried to a GPU machine that has torch and no network, and how it is put to use there.

    KIT/wheels/*.whl       the packages that octvideo needs and such machines lack (`benchmarks.gpu.wheels`)
    KIT/clips/*            real videos, for the tests
    KIT/caches.tar.*       what torch.compile made on an earlier day
    KIT/results.jsonl      an earlier day's results, which are gone on from

Nothing but the standard library is needed here.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.gpu.results import FILE

CACHES = "caches.tar.gz"
_PLAIN_NAME = re.compile(r"^(lib\w+)-[0-9a-f]+\.so\.(\d+)")


class KitError(RuntimeError):
    """A kit that cannot be used; one line."""


def unpack(kit: Path | None, out: Path) -> dict[str, str]:
    """Put a kit to use, outside the checkout, and give the environment of the processes that need it.

    Args:
        kit: None where the machine has all that octvideo needs.
        out: gets the earlier results.

    Raises:
        KitError: there is no such folder, or its wheels or caches cannot be unpacked.
    """
    environment = dict(os.environ)
    checkout = str(Path(__file__).parents[2])
    caches = Path(tempfile.gettempdir()) / "octvideo-gpu-inductor"
    environment |= {"PYTHONUNBUFFERED": "1", "TORCHINDUCTOR_CACHE_DIR": str(caches)}
    environment["TRITON_CACHE_DIR"] = str(
        caches / "triton"
    )  # the engine's kernels go home with the compiler's
    if kit is None:
        return _prepend(environment, "PYTHONPATH", checkout)
    if not kit.is_dir():
        raise KitError(f"--kit is {kit}, which is no folder; `make gpu-wheels` fills one")
    place = Path(tempfile.mkdtemp(prefix="octvideo-gpu-kit-"))
    site = place / "site"
    if wheels := sorted(map(str, kit.glob("wheels/*.whl"))):
        _install(wheels, site)
        links = link_libraries(site / "av.libs", place / "ffmpeg")
        _prepend(environment, "LD_LIBRARY_PATH", str(links), str(site / "av.libs"))
    if (kit / "clips").is_dir():
        environment["OCTVIDEO_CLIPS"] = str(kit / "clips")
    _join(sorted(kit.glob(f"{CACHES}.*")), caches)
    if (kit / FILE).exists() and not (out / FILE).exists():
        shutil.copy(kit / FILE, out / FILE)
    return _prepend(environment, "PYTHONPATH", checkout, str(site))


def link_libraries(libraries: Path, links: Path) -> Path:
    """Links to PyAV's FFmpeg by the names that torchcodec asks for: `libavcodec.so.62` to `libavcodec-1a2b.so.62.3`.

    Both folders belong into LD_LIBRARY_PATH: with the links alone the loader takes the system's FFmpeg, without a word.
    """
    links.mkdir(parents=True)
    for library in libraries.iterdir():
        if found := _PLAIN_NAME.match(library.name):
            (links / f"{found[1]}.so.{found[2]}").symlink_to(library)
    return links


def _install(wheels: list[str], site: Path) -> None:
    offline = [
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "-q",
    ]
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(site), *wheels]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise KitError(f"the wheels of --kit do not install into {site}: {why}")


def _join(pieces: list[Path], folder: Path) -> None:
    """Unpack an archive that came in pieces, where there is one."""
    if not pieces:
        return
    with tempfile.TemporaryFile() as whole:
        for piece in pieces:
            with piece.open("rb") as file:
                shutil.copyfileobj(file, whole)
        whole.seek(0)
        try:
            with tarfile.open(fileobj=whole, mode="r:gz") as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError) as error:
            raise KitError(f"{pieces[0]} and its other pieces do not unpack: {error}") from None


def _prepend(environment: dict[str, str], name: str, *folders: str) -> dict[str, str]:
    environment[name] = os.pathsep.join([*folders, *filter(None, [environment.get(name, "")])])
    return environment
