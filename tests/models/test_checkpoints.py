"""Checkpoint files of other projects, against networks written from their layer names alone."""

import os
import pickle
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from octvideo.models import create_model
from octvideo.models.checkpoints import CheckpointError, LoadReport, read_checkpoint
from octvideo.models.checkpoints import load_weights as load_tensors
from octvideo.models.sources.pyslowfast import their_name
from octvideo.models.weights import get_spec, read_weights


def randomised(name: str, **arguments) -> torch.nn.Module:
    """A network whose norms are not the identity, so that every tensor shows in the output."""
    torch.manual_seed(3)
    model = create_model(name, **{"num_classes": 5, **arguments}).eval()
    for key, tensor in model.state_dict().items():
        if key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif "norm" in key and tensor.is_floating_point():
            tensor.uniform_(-0.3, 0.3).add_(0.6 if key.endswith("weight") else 0.0)
    return model


def load_weights(model: torch.nn.Module, file: Path, name: str = "i3d_tiny") -> LoadReport:
    """Into a network that is there, which a refusal must leave as it was."""
    weights = read_weights(file)
    return load_tensors(model, weights.tensors, weights.file, weights.kind, get_spec(name).head)


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(k == m and torch.equal(v, w) for (k, v), (m, w) in pairs)


@pytest.fixture
def source() -> torch.nn.Module:
    return randomised("i3d_tiny")


@pytest.mark.parametrize(
    ("kind", "wrap"),
    [
        ("pytorchvideo", lambda state: {"model_state": state}),
        ("state dict", lambda state: state),
        ("state dict", lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}}),
        (
            "Lightning",
            lambda state: {
                "pytorch-lightning_version": "1.5",
                "state_dict": {
                    **{f"model.net.{k}": v for k, v in state.items()},
                    "loss.weight": torch.ones(5),
                },
            },
        ),
    ],
)
def test_files_of_every_kind(tmp_path, source, kind: str, wrap) -> None:
    torch.save(wrap(source.state_dict()), tmp_path / "file.pth")
    model = create_model("i3d_tiny", num_classes=5, alpha=0.25)  # dense weights start an octave network
    report = load_weights(model, tmp_path / "file.pth")
    assert equal(model, source)
    assert report.kind == kind
    assert len(report.loaded) == len(source.state_dict())
    assert report.left_out == (["loss.weight"] if kind == "Lightning" else [])
    assert str(tmp_path / "file.pth") in str(report)


def test_safetensors(tmp_path, source) -> None:
    save_file(source.state_dict(), tmp_path / "file.safetensors")
    model = create_model("i3d_tiny", num_classes=5)
    assert load_weights(model, tmp_path / "file.safetensors").kind == "safetensors"
    assert equal(model, source)
    (tmp_path / "file.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_weights(model, tmp_path / "file.safetensors")


def test_a_new_head_is_said_aloud(tmp_path, source) -> None:
    torch.save(source.state_dict(), tmp_path / "file.pth")
    model = create_model("i3d_tiny", num_classes=9)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = load_weights(model, tmp_path / "file.pth")
    assert len(report.replaced) == 2
    assert "the head is NEW" in str(report)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key] if key in report.replaced else source.state_dict()[key])


def test_files_that_fit_in_part_are_refused(tmp_path, source) -> None:
    state = source.state_dict()
    keys = list(state)
    model = create_model("i3d_tiny", num_classes=5)
    before = {key: value.clone() for key, value in model.state_dict().items()}

    def refused(content: dict, text: str) -> None:
        torch.save(content, tmp_path / "file.pth")
        with pytest.raises(CheckpointError, match=text) as caught:
            load_weights(model, tmp_path / "file.pth")
        assert str(tmp_path / "file.pth") in str(caught.value)
        assert "\n" not in str(caught.value)

    refused({k: v for k, v in state.items() if k != keys[3]}, f"it lacks {keys[3]}")
    refused({**state, keys[0]: torch.zeros(2, 2)}, rf"{keys[0]} is \(2, 2\)")
    refused({**state, "blocks.9.weight": torch.zeros(2)}, r"also has blocks\.9\.weight")
    refused({"conv1.weight": torch.zeros(2)}, "none of its names")
    refused({"epoch": 3}, "holds no tensors")
    for key, value in model.state_dict().items():  # untouched by a refusal
        assert torch.equal(value, before[key])


def test_old_files_without_counters(tmp_path, source) -> None:
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "file.pth")
    model = create_model("i3d_tiny", num_classes=5)
    load_weights(model, tmp_path / "file.pth")
    assert torch.equal(model.blocks[0].conv.weight, source.blocks[0].conv.weight)


# PySlowFast: its networks, written from its names and configs alone


class PySlowFastNet:
    """PySlowFast's forward pass over its own state dict: ResNet and SlowFast, test mode, no softmax."""

    def __init__(self, state: dict[str, Tensor], *, pool_after_s2: int = 1, slowfast: bool = False) -> None:
        self.state, self.pool_after_s2, self.slowfast = state, pool_after_s2, slowfast

    def conv(self, x: Tensor, name: str, stride=1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding = [size // 2 for size in weight.shape[2:]]
        return F.conv3d(x, weight, self.state.get(f"{name}.bias"), stride, padding)

    def bn(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{name}.{part}"].view(1, -1, 1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def stem(self, x: Tensor, pathway: int) -> Tensor:
        x = F.relu(
            self.bn(self.conv(x, f"s1.pathway{pathway}_stem.conv", (1, 2, 2)), f"s1.pathway{pathway}_stem.bn")
        )
        return F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))

    def stage(self, x: Tensor, stage: int, pathway: int) -> Tensor:
        block = 0
        while f"s{stage}.pathway{pathway}_res{block}.branch2.a.weight" in self.state:
            name = f"s{stage}.pathway{pathway}_res{block}"
            stride = (1, 2, 2) if stage > 2 and block == 0 else 1
            y = F.relu(self.bn(self.conv(x, f"{name}.branch2.a"), f"{name}.branch2.a_bn"))
            y = F.relu(self.bn(self.conv(y, f"{name}.branch2.b", stride), f"{name}.branch2.b_bn"))
            y = self.bn(self.conv(y, f"{name}.branch2.c"), f"{name}.branch2.c_bn")
            if f"{name}.branch1.weight" in self.state:
                x = self.bn(self.conv(x, f"{name}.branch1", stride), f"{name}.branch1_bn")
            x = F.relu(x + y)
            if f"s{stage}.pathway{pathway}_nonlocal{block}.bn.weight" in self.state:
                x = self.nonlocal_block(x, f"s{stage}.pathway{pathway}_nonlocal{block}")
            block += 1
        return x

    def nonlocal_block(self, x: Tensor, name: str) -> Tensor:
        theta = self.conv(x, f"{name}.conv_theta")
        pooled = F.max_pool3d(x, (1, 2, 2), (1, 2, 2))
        phi, g = self.conv(pooled, f"{name}.conv_phi"), self.conv(pooled, f"{name}.conv_g")
        theta_phi = torch.einsum("nct,ncp->ntp", theta.flatten(2), phi.flatten(2)) * theta.shape[1] ** -0.5
        y = torch.einsum("ntg,ncg->nct", theta_phi.softmax(dim=2), g.flatten(2)).view_as(theta)
        return x + self.bn(self.conv(y, f"{name}.conv_out"), f"{name}.bn")

    def fuse(self, paths: list[Tensor], stage: int) -> list[Tensor]:
        weight = self.state[f"s{stage}_fuse.conv_f2s.weight"]
        y = F.conv3d(paths[1], weight, None, (4, 1, 1), (weight.shape[2] // 2, 0, 0))
        y = F.relu(self.bn(y, f"s{stage}_fuse.bn"))
        return [torch.cat([paths[0], y], 1), paths[1]]

    def __call__(self, clip: Tensor) -> Tensor:
        if self.slowfast:
            index = torch.linspace(0, clip.shape[2] - 1, clip.shape[2] // 4).long()
            paths = [clip[:, :, index], clip]
        else:
            paths = [clip]
        paths = [self.stem(x, pathway) for pathway, x in enumerate(paths)]
        if self.slowfast:
            paths = self.fuse(paths, 1)
        for stage in (2, 3, 4, 5):
            paths = [self.stage(x, stage, pathway) for pathway, x in enumerate(paths)]
            if self.slowfast and stage < 5:
                paths = self.fuse(paths, stage)
            if stage == 2:
                kernel = (self.pool_after_s2, 1, 1)
                paths = [F.max_pool3d(x, kernel, kernel) for x in paths]
        features = torch.cat([x.mean(dim=(2, 3, 4)) for x in paths], 1)
        return features @ self.state["head.projection.weight"].T + self.state["head.projection.bias"]


def to_pyslowfast(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames as PySlowFast's own modules do, by hand: counting stages instead of asking the code under test."""
    blocks = sorted({int(key.split(".")[1]) for key in state if "res_blocks" in key})
    renamed = {}
    for key, value in state.items():
        name = re.sub(r"^blocks\.(\d+)", lambda m: f"S{m[1]}", key)
        name = re.sub(r"^S\d+\.proj", "head.projection", name)
        for stage, block in enumerate(blocks, start=2):
            name = re.sub(rf"^S{block}\.", f"s{stage}.", name)
        name = name.replace("S0.", "s1.")
        pathway = m[1] if (m := re.search(r"multipathway_blocks\.(\d)\.", name)) else "0"
        name = re.sub(r"multipathway_blocks\.\d\.", "", name)
        name = re.sub(r"^(s\d)\.multipathway_fusion\.", r"\1_fuse.", name)
        name = name.replace("conv_fast_to_slow", "conv_f2s").replace("_fuse.norm", "_fuse.bn")
        name = re.sub(r"^s1\.(conv|norm)", rf"s1.pathway{pathway}_stem.\1", name).replace(
            "stem.norm", "stem.bn"
        )
        name = re.sub(r"\.res_blocks\.(\d+)\.", rf".pathway{pathway}_res\1.", name)
        name = re.sub(r"\.nonlocal_blocks\.(\d+)\.", rf".pathway{pathway}_nonlocal\1.", name)
        name = re.sub(r"(nonlocal\d+)\.norm", r"\1.bn", name)
        name = name.replace("branch1_conv", "branch1").replace("branch1_norm", "branch1_bn")
        name = re.sub(r"branch2\.conv_(\w)", r"branch2.\1", name)
        name = re.sub(r"branch2\.norm_(\w)", r"branch2.\1_bn", name)
        renamed[name] = value
    return renamed


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("c2d_r50", (8, 64), {"pool_after_s2": 2}),
        ("i3d_r50", (8, 64), {"pool_after_s2": 2}),
        ("i3d_nl_r50", (8, 64), {"pool_after_s2": 2}),
        ("slow_r50", (4, 64), {}),
        ("slowfast_r50", (16, 64), {"slowfast": True}),
    ],
)
def test_pyslowfast_files_give_pyslowfast_outputs(tmp_path, name: str, shape, options: dict) -> None:
    state = to_pyslowfast(randomised(name).state_dict())
    assert all(re.match(r"s[1-5](_fuse)?\.|head\.", key) for key in state)
    torch.save({"epoch": 196, "model_state": state}, tmp_path / "file.pyth")
    model = create_model(name, num_classes=5).eval()
    assert load_weights(model, tmp_path / "file.pyth", name).kind == "PySlowFast"
    frames, side = shape
    clip = torch.randn(2, 3, frames, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = PySlowFastNet(state, **options)(clip)
        torch.testing.assert_close(model(clip), expected, rtol=1e-5, atol=1e-5)


def test_names_without_a_counterpart() -> None:
    assert their_name("blocks.7.something.weight", {0: 1}) is None
    assert their_name("blocks.0.multipathway_fusion.other.weight", {0: 1}) is None


class Evil:
    def __reduce__(self):
        return os.system, ("touch owned",)


def pickled_zip(file: Path) -> None:
    torch.save({"a": Evil()}, file)


def pickled_legacy(file: Path) -> None:
    torch.save({"a": Evil()}, file, _use_new_zipfile_serialization=False)


def pickled_alone(file: Path) -> None:
    file.write_bytes(pickle.dumps({"a": Evil()}))


def pickled_module(file: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), file)


@pytest.mark.parametrize("write", [pickled_zip, pickled_legacy, pickled_alone, pickled_module])
def test_pickled_objects_are_called_so(tmp_path, monkeypatch, write) -> None:
    """Not "truncated", which sends people to download the file again."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"net\.pth: refused, it holds pickled Python objects"):
        read_checkpoint(tmp_path / "net.pth")
    assert not (tmp_path / "owned").exists()


def test_truncated_files_are_named(tmp_path) -> None:
    file = tmp_path / "net.pth"
    torch.save({"a": torch.zeros(1000)}, file)
    whole = file.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 500, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(
            CheckpointError, match=r"net\.pth: not a checkpoint that torch can read, or a trunc"
        ):
            read_checkpoint(file)
