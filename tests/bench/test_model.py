import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from octvideo.bench.calls import resident_bytes, training_bytes
from octvideo.bench.model import Setting, measure, networks
from octvideo.bench.plain import PlainOctaveConv3d, plain
from octvideo.bench.profile import KINDS, kinds_of_time
from octvideo.bench.written import write
from octvideo.cli.bench import bench_command
from octvideo.cli.errors import UsageError
from octvideo.engines import choose, forced
from octvideo.layers import Octave, OctaveConv3d
from octvideo.models import count_macs, create_model
from tests.models.networks import randomise_norms


@pytest.mark.parametrize("side", [64, 48])
def test_outputs_and_gradients_equal_the_plain_layers(side):
    """The layers' fast paths against four 3D convolutions, pooling and upsampling, through a whole network."""
    torch.manual_seed(0)
    fast = create_model("i3d_tiny", alpha=0.25, num_classes=5)
    randomise_norms(fast)
    slow = plain(fast)
    assert sum(isinstance(m, PlainOctaveConv3d) for m in slow.modules()) > 5
    x = torch.randn(2, 3, 4, side, side).to(memory_format=torch.channels_last_3d)
    for train in (False, True):
        outputs, gradients = [], []
        for model in (fast, slow):
            y = model.train(train)(x)
            model.zero_grad()
            (y**2).sum().backward()
            outputs.append(y.detach())
            gradients.append([p.grad for p in model.parameters()])
        torch.testing.assert_close(*outputs, atol=1e-4, rtol=1e-4)
        for found, expected in zip(*gradients, strict=True):
            largest = expected.abs().max()
            torch.testing.assert_close(found / largest, expected / largest, atol=2e-3, rtol=0)


@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 1, 1), (3, 3, 3)], ids=str)
def test_gradients_in_bfloat16_autocast(kernel):
    torch.manual_seed(0)
    padding = tuple(k // 2 for k in kernel)
    layer = OctaveConv3d(16, 16, kernel, 1, padding, alpha_in=0.5, alpha_out=0.5)
    # 8 frames: of 2, oneDNN's bfloat16 gradient of a kernel over 3 is not even finite (torch 2.14.1).
    high = torch.randn(2, 8, 8, 8, 8).to(memory_format=torch.channels_last_3d).requires_grad_()
    low = torch.randn(2, 8, 8, 4, 4).to(memory_format=torch.channels_last_3d).requires_grad_()
    leaves = (high, low, layer.weight, layer.bias)
    expected = torch.autograd.grad(
        sum((y**2).mean() for y in PlainOctaveConv3d(layer)(Octave(high, low))), leaves
    )
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(Octave(high, low))
    assert y.high.dtype == y.low.dtype == torch.bfloat16
    found = torch.autograd.grad(sum((part.float() ** 2).mean() for part in y), leaves)
    for one, other in zip(found, expected, strict=True):
        largest = other.abs().max()
        torch.testing.assert_close(one / largest, other / largest, atol=0.03, rtol=0)


def test_measures_each_candidate_and_writes_it(tmp_path):
    setting = Setting("i3d_tiny", [0.5], 1, 2, 32, "cpu", rounds=2)
    calls = []
    rows = measure(
        setting, task="training", mode="eager", precision="fp32", models=networks(setting), with_plain=True,
        advance=lambda: calls.append(1),
    )  # fmt: skip
    assert [(row.layer, row.alpha) for row in rows] == [
        ("fast", 0.0), ("fast", 0.5), ("plain", 0.0), ("plain", 0.5),
    ]  # fmt: skip
    assert len(calls) == 4 * (1 + 1 + 2)  # first call, warm-up, rounds
    dense, octave, plain_dense, _ = rows
    assert dense.memory_ratio == plain_dense.memory_ratio == dense.time_ratio.median == 1
    assert octave.memory_ratio < 1
    data, picture = write(tmp_path, setting, rows)
    assert [row["alpha"] for row in json.loads(data.read_text())["rows"]] == [0.0, 0.5, 0.0, 0.5]
    assert data.name == "i3d_tiny_cpu_training_eager.json"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_engines_side_by_side(tmp_path, monkeypatch):
    setting = Setting("i3d_tiny", [0.5], 1, 2, 32, "cpu", rounds=1)
    used = []
    monkeypatch.setattr(
        "octvideo.layers.frozen.choose", lambda request: used.append(forced()) or choose(request)
    )
    rows = measure(
        setting, task="inference", mode="eager", precision="fp32", models=networks(setting),
        engines=["onednn", "torch"],
    )  # fmt: skip
    assert [(row.layer, row.alpha) for row in rows] == [
        ("onednn", 0.0), ("onednn", 0.5), ("torch", 0.0), ("torch", 0.5),
    ]  # fmt: skip
    assert rows[0].time_ratio.median == 1
    assert set(used) == {"onednn", "torch"}
    assert write(tmp_path, setting, rows)[0].name == "i3d_tiny_cpu_inference_eager_onednn_torch.json"


def test_profile_adds_up_and_names_the_work():
    x = torch.randn(2, 64, 8, 32, 32)
    conv = nn.Conv3d(64, 64, 3, padding=1)

    def run():
        with torch.no_grad():
            F.avg_pool3d(conv(x), 2)

    run()
    seconds = kinds_of_time(run, "cpu")
    assert list(seconds) == list(KINDS)
    assert max(seconds, key=seconds.get) == "convolution"
    assert seconds["pooling"] > 0
    assert seconds["norm"] == seconds["fused by the compiler"] == 0


def test_channel_multiple_is_in_the_name_and_in_the_flops(tmp_path):
    paper, rounded = (
        Setting("i3d_tiny", [0.125], 2, 2, 32, "cpu", rounds=1, channel_multiple=multiple)
        for multiple in (1, 16)
    )
    rows = [
        measure(s, task="inference", mode="eager", precision="fp32", models=networks(s), with_profile=True)
        for s in (paper, rounded)
    ]
    assert rows[1][1].flop_ratio < rows[0][1].flop_ratio < 1  # 16 of 64 channels are low, not 8
    data, _ = write(tmp_path, rounded, rows[1])
    assert data.name == "i3d_tiny_cpu_inference_eager_batch2_multiple16.json"
    assert json.loads(data.read_text())["rows"][1]["profile"]["convolution"] > 0


def test_layers_may_have_an_alpha_of_their_own(tmp_path):
    mixed = Setting("i3d_tiny", [0.5], 1, 2, 32, "cpu", rounds=1, layer_alphas={"*": 0, "blocks.2.*": 0.25})
    octave = networks(mixed)[0.5]
    expected = create_model("i3d_tiny", layer_alphas={"blocks.2.*": 0.25})
    assert count_macs(octave, mixed.shape) == count_macs(expected, mixed.shape)
    rows = measure(mixed, task="inference", mode="eager", precision="fp32", models=networks(mixed))
    data, _ = write(tmp_path, mixed, rows)
    assert data.name == "i3d_tiny_cpu_inference_eager_layer_alphas.json"
    assert json.loads(data.read_text())["layer_alphas"] == {"*": 0, "blocks.2.*": 0.25}


def test_memory_is_what_autograd_keeps_beside_the_weights():
    layer = nn.Linear(3, 5)
    x = torch.randn(7, 3)
    kept = training_bytes(lambda: (layer(x) ** 2).sum().backward(), layer.parameters(), "cpu", 0)
    assert kept == 4 * (7 * 3 + 7 * 5)  # the input for the weight's gradient, the output for the square's


def test_peak_memory_leaves_out_what_other_networks_hold(monkeypatch):
    """Networks are measured one after another, and all of them stay on the GPU."""
    held = {"now": 700, "peak": 0}
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: held["now"])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: held.update(peak=held["now"]))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: held["peak"])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    resident = resident_bytes("cuda")
    held["now"] += 100  # this network
    step = lambda: held.update(peak=held["now"] + 50)  # noqa: E731
    assert training_bytes(step, [], "cuda", resident) == 150


def test_what_is_measured_is_written_after_each_setting(tmp_path, monkeypatch):
    """A run that is cut while it compiles for minutes keeps what it had measured before."""
    from octvideo.bench import model

    measured = model.measure

    def cut(*args, task, **others):
        if task == "training":
            raise KeyboardInterrupt
        return measured(*args, task=task, **others)

    monkeypatch.setattr(model, "measure", cut)
    small = ["--num_frames", "2", "--crop", "32", "--alpha", "0.5", "--rounds", "1", "--out", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        bench_command(["model", "i3d_tiny", "--task", "inference", "training", *small])
    rows = json.loads((tmp_path / "i3d_tiny_cpu_inference_training_eager.json").read_text())["rows"]
    assert [(row["task"], row["alpha"]) for row in rows] == [("inference", 0.0), ("inference", 0.5)]


def test_graphs_are_a_gpus():
    with pytest.raises(
        UsageError, match="--mode is graphs with --device cpu, where there are no CUDA graphs"
    ):
        bench_command(["model", "i3d_tiny", "--mode", "graphs"])
