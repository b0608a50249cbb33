"""Exported files: their outputs against the network's, and what a doctored file may not do."""

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from octvideo.card import Card
from octvideo.models import create_model
from octvideo.models.checked import checked_pt2
from octvideo.models.checkpoints import CheckpointError
from octvideo.models.export import ExportError, _write_pt2, export_network
from octvideo.models.exported import load_exported
from tests.models.archives import Anything, two_in_one
from tests.models.networks import randomise_norms

CARD = Card(
    name="i3d_tiny", alpha=0.25, num_classes=3, class_names=("a", "é", "c"), num_frames=4, test_crop=33
)


def network(name: str, alpha: float) -> torch.nn.Module:
    torch.manual_seed(0)
    model = create_model(name, alpha=alpha, num_classes=3)
    randomise_norms(model)
    return model.eval()


@pytest.fixture(scope="module")
def pt2(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("export") / "net.pt2"
    export_network(network("i3d_tiny", 0.25), file, input_shape=(4, 33, 33), card=CARD)
    return file


# x3d_s alone takes as long as all others: many small layers, each of four paths.
NETWORKS = [("i3d_tiny", 0.25), ("slowfast_r50", 0.0), ("i3d_nl_r50", 0.0)]
NETWORKS += [pytest.param("x3d_s", 0.25, marks=pytest.mark.soak)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "alpha"), NETWORKS)
def test_onnx_gives_the_networks_logits(tmp_path, name: str, alpha: float) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, frames = network(name, alpha), 8
    export_network(model, tmp_path / "net.onnx", input_shape=(frames, 64, 64), card=CARD)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]  # the weights are inside
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()  # one tensor, SlowFast's too
    assert (taken.name, taken.shape[1:]) == ("clip", [3, frames, 64, 64])
    assert json.loads(session.get_modelmeta().custom_metadata_map["model_card"]) == {
        **CARD.to_dict(),
        "num_frames": frames,
        "test_crop": 64,
    }
    for size in (1, 2, 4):
        clip = torch.randn(size, 3, frames, 64, 64)
        with torch.no_grad():
            expected = model(clip)
        found = torch.from_numpy(session.run(None, {"clip": clip.numpy()})[0])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_pt2_gives_the_networks_logits(pt2: Path) -> None:
    exported, card = load_exported(pt2)
    assert card == CARD
    assert not list(exported.parameters())
    for size in (1, 2, 4):
        clip = torch.randn(size, 3, 4, 33, 33)
        with torch.no_grad():
            torch.testing.assert_close(exported(clip), network("i3d_tiny", 0.25)(clip), rtol=1e-4, atol=1e-5)


def test_a_full_disk_leaves_the_file_before(pt2: Path, tmp_path) -> None:
    out = shutil.copy(pt2, tmp_path / "net.pt2")
    limit = (
        pt2.stat().st_size // 2
    )  # files may not grow further, which programs meet as they meet a full disk
    code = (
        "import resource; from tests.models.test_export import *; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY)); "
        f"export_network(create_model('i3d_tiny'), {str(out)!r}, input_shape=(4, 32, 32), card=CARD)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert run.stderr.splitlines()[-1] == f"OSError: [Errno 27] File too large: '{out}'"
    assert Path(out).read_bytes() == pt2.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["net.pt2"]


def test_refusals(tmp_path) -> None:
    model = network("i3d_tiny", 0.0)
    with pytest.raises(ExportError, match=r"net\.bin: the name must end in \.onnx or \.pt2"):
        export_network(model, tmp_path / "net.bin", input_shape=(4, 32, 32), card=CARD)
    with pytest.raises(ExportError, match="cannot be exported"):
        export_network(network("slowfast_r50", 0.0), tmp_path / "net.pt2", input_shape=(6, 32, 32), card=CARD)
    assert list(tmp_path.iterdir()) == []


def doctored(pt2: Path, change, where: str = "models/model.json") -> bytes:
    """The archive with one of its files changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(pt2) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith(where) else content)
    return buffer.getvalue()


def in_graph(old: str, new: str):
    def change(content: bytes) -> bytes:
        assert old in content.decode()
        return content.decode().replace(old, new, 1).encode()

    return change


CODE = "__import__('os').system('touch /tmp/owned')"


@pytest.mark.parametrize(
    "change",
    [
        in_graph("torch.ops.aten.relu.default", "torch.hub.load"),
        in_graph("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default"),
        in_graph("Symbol('s", CODE + " + Symbol('s"),
        in_graph('"guards_code": []', f'"guards_code": ["{CODE}"]'),
        in_graph('"parameter_name": "blocks.0', f'"parameter_name": "a\\"), {CODE}, (\\"'),
        in_graph("builtins.tuple", "os.system"),
    ],
)
def test_a_pt2_file_with_more_than_a_graph_is_refused(pt2: Path, change) -> None:
    content = doctored(pt2, change)
    with pytest.raises(CheckpointError, match="refused") as caught:
        checked_pt2(content, pt2)
    assert "\n" not in str(caught.value)


def test_pickled_payloads_are_refused(pt2: Path, tmp_path) -> None:
    where = "model_weights_config.json"
    pickled = doctored(pt2, in_graph('"use_pickle": false', '"use_pickle": true'), where)
    with pytest.raises(CheckpointError, match="is pickled, which loading would have to execute"):
        checked_pt2(pickled, pt2)
    buffer = io.BytesIO()
    torch.save(Path("/tmp"), buffer)  # a class that weights_only does not know
    with pytest.raises(CheckpointError, match="refused, it holds pickled sample inputs"):
        checked_pt2(doctored(pt2, lambda _: buffer.getvalue(), "sample_inputs/model.pt"), pt2)
    with zipfile.ZipFile(tmp_path / "more.pt2", "w") as archive:
        archive.writestr("more/data/constants/custom_obj_0", b"")
    with pytest.raises(CheckpointError, match="refused, it holds data/constants/custom_obj_0"):
        load_exported(tmp_path / "more.pt2")


def test_what_torch_loads_is_what_was_checked(pt2: Path, tmp_path, monkeypatch) -> None:
    """Two archives in one file: `zipfile` finds the first by its place, torch the second by the zip64 locator."""
    other = doctored(pt2, lambda content: content.replace(b"i3d_tiny", b"attacker"), "model_card.json")
    file = tmp_path / "two.pt2"
    file.write_bytes(two_in_one(pt2.read_bytes(), other))
    with zipfile.ZipFile(file) as archive:
        seen = json.loads(archive.read("archive/extra/model_card.json"))
    extra = {"model_card.json": ""}
    torch.export.load(file, extra_files=extra)
    assert (seen["name"], json.loads(extra["model_card.json"])["name"]) == ("i3d_tiny", "attacker")
    with pytest.raises(CheckpointError, match=r"two\.pt2: refused, it holds bytes behind"):
        load_exported(file)
    # Whatever the check overlooks: torch never sees the file itself.
    monkeypatch.setattr("octvideo.models.archive._check_end", lambda *args: None)
    monkeypatch.setattr("octvideo.models.archive._behind", lambda info: Anything())
    assert load_exported(file)[1] == CARD


def test_a_graph_that_would_take_all_memory_is_refused(pt2: Path, tmp_path) -> None:
    def pad(content: bytes) -> bytes:
        graph = json.loads(content)
        nodes = graph["graph_module"]["graph"]["nodes"]
        conv = next(node for node in nodes if "aten.conv" in node["target"])
        padding = next(i for i in conv["inputs"] if i["name"] == "padding")
        padding["arg"]["as_ints"] = [100_000] * len(padding["arg"]["as_ints"])
        return json.dumps(graph).encode()

    file = tmp_path / "bomb.pt2"
    file.write_bytes(doctored(pt2, pad))
    with pytest.raises(
        CheckpointError, match=r"bomb\.pt2: refused, its graph takes .* bytes of memory for one"
    ):
        load_exported(file)


class Hoarder(torch.nn.Module):
    """Twelve tensors of a gigabyte, all of them needed until the end."""

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        kept = [clip[:, 0, 0, 0, :1, None] * torch.linspace(0, n, 2**28) for n in range(12)]
        logits = clip[:, 0, 0, 0, :3]
        for one in kept:
            logits = logits + one[:, 0, :3]
        return logits


class Toiler(torch.nn.Module):
    """Products of large matrices: hours, in a gigabyte or two."""

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        x = clip[:, 0, 0, 0, :1, None] * torch.linspace(0, 1, 2**28).reshape(1, 2**14, 2**14)
        for _ in range(16):
            x = x.bmm(x)
        return x[:, 0, :3]


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Hoarder, "its graph takes .* bytes of memory for one clip"),
        (Toiler, "its graph takes .* operations for one clip"),
    ],
)
def test_a_graph_of_known_operators_takes_what_a_network_takes(tmp_path, module, said: str) -> None:
    """Each of its tensors is small enough; all together, or what is done with them, are not."""
    file = tmp_path / "net.pt2"
    _write_pt2(module(), torch.zeros(2, 3, 4, 33, 33), file, json.dumps(CARD.to_dict()))
    with pytest.raises(CheckpointError, match=rf"net\.pt2: refused, {said}"):
        load_exported(file)


def test_truncated_and_foreign_files(pt2: Path, tmp_path) -> None:
    (tmp_path / "short.pt2").write_bytes(pt2.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"short\.pt2: not a \.pt2 file of octvideo export"):
        load_exported(tmp_path / "short.pt2")
    with pytest.raises(FileNotFoundError, match=r"gone\.pt2"):
        load_exported(tmp_path / "gone.pt2")
    program = torch.export.export(torch.nn.ReLU(), (torch.zeros(1),))
    torch.export.save(program, tmp_path / "other.pt2")
    with pytest.raises(CheckpointError, match=r"other\.pt2"):
        load_exported(tmp_path / "other.pt2")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b'"num_classes": 3', b'"num_classes": 9', "num_classes is 9, allowed is that of class_names, 3"),
        (
            b'"class_names": ["a", "\\u00e9", "c"]',
            b'"num_frames": 5',
            "its card has num_frames 5, its network 4",
        ),
        (b'"alpha": 0.25', b'"alpha": "x"', "in its card, alpha is 'x', allowed is a number, 0 to 1"),
        (b"{", b"[" * 100_000, "has no model card"),
    ],
)
def test_a_card_that_lies(pt2: Path, tmp_path, old: bytes, new: bytes, text: str) -> None:
    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new)

    file = tmp_path / "lies.pt2"
    file.write_bytes(doctored(pt2, change, "model_card.json"))
    with pytest.raises(CheckpointError, match=re.escape(text)):
        load_exported(file)


@pytest.mark.slow
def test_the_batch_axis_of_onnx_has_a_name(tmp_path) -> None:
    import onnx

    file = tmp_path / "net.onnx"
    export_network(network("i3d_tiny", 0.25), file, input_shape=(4, 32, 32), card=CARD)
    graph = onnx.load(file).graph
    named = [value.type.tensor_type.shape.dim[0].dim_param for value in (*graph.input, *graph.output)]
    assert named == ["batch", "batch"]


def test_onnxruntime_computes_on_the_gpu_where_it_can(monkeypatch) -> None:
    from octvideo.models.exported import _providers

    here = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert _providers(here) == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
    assert _providers(here[2:]) == ["CPUExecutionProvider"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert _providers(here) == ["CPUExecutionProvider"]
