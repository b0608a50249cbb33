"""Files of other projects, against networks written down from their names alone."""

import pickle
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import ResNet
from torchvision.models.resnet import Bottleneck

from octvideo.models import create_model, octavize
from octvideo.models.checkpoints import CheckpointError
from octvideo.models.inflate import inflate_file
from octvideo.models.sources import caffe2, oct_resnet
from tests.models.test_checkpoints import PySlowFastNet, randomised, to_pyslowfast


def clip(frames: int, side: int) -> Tensor:
    return torch.randn(2, 3, frames, side, side, generator=torch.Generator().manual_seed(0))


def outputs(name: str, file, x: Tensor, **arguments) -> Tensor:
    model = create_model(name, num_classes=5, checkpoint=file, **arguments).eval()
    with torch.no_grad():
        return model(x)


def norm(state: dict[str, Tensor], x: Tensor, name: str) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{part}"].view(1, -1, *[1] * (x.dim() - 2))
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


# PySlowFast's zoo: Caffe2


def to_caffe2(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """From PySlowFast's names of today to those of its .pkl files, with what training left beside them."""
    blobs = {}
    for key, value in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        name, _, tensor = key.rpartition(".")
        fast = "t_" if ".pathway1_" in name else ""
        name = re.sub(r"^s1\.pathway\d_stem\.conv$", "conv1", name)
        name = re.sub(r"^s1\.pathway\d_stem\.bn$", "res_conv1_bn", name)
        name = re.sub(r"^s(\d)\.pathway\d_res(\d+)\.branch2\.", r"res\1_\2_branch2", name)
        name = re.sub(r"^s(\d)\.pathway\d_res(\d+)\.", r"res\1_\2_", name)
        name = re.sub(r"^s(\d)\.pathway0_nonlocal(\d+)\.(conv_)?", r"nonlocal_conv\1_\2_", name)
        last = {"2": 2, "3": 3, "4": 5}.get(name[1], 0)
        name = re.sub(r"^s1_fuse\.(conv_f2s|bn)", r"t_pool1_subsample_\1", name)
        name = re.sub(r"^s(\d)_fuse\.(conv_f2s|bn)", rf"t_res\1_{last}_branch2c_bn_subsample_\2", name)
        name = name.replace("_conv_f2s", "").replace("head.projection", "pred")
        letter = {"weight": "w", "bias": "b"} | (
            {"weight": "s", "running_mean": "rm", "running_var": "riv"} if name.endswith("bn") else {}
        )
        blobs[f"{fast}{name}_{letter[tensor]}"] = value.numpy()
        blobs[f"{fast}{name}_{letter[tensor]}_momentum"] = np.zeros(value.shape, "f4")
    return {**blobs, "lr": np.zeros(1, "f4"), "model_iter": np.zeros(1, "i8")}


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("c2d_nopool_r50", {}, (4, 64)),
        ("i3d_nl_r50", {"pool_after_s2": 2}, (8, 64)),
        ("slow_r50", {}, (4, 64)),
        ("slowfast_r50", {"slowfast": True}, (16, 64)),
    ],
)
def test_caffe2_files_give_pyslowfasts_outputs(tmp_path, name: str, options: dict, shape) -> None:
    state = to_pyslowfast(randomised(name).state_dict())
    blobs = to_caffe2(state)
    assert {"conv1_w", "res_conv1_bn_riv", "res2_0_branch1_bn_s", "res4_5_branch2c_bn_rm", "pred_b"} <= set(
        blobs
    )
    file = tmp_path / "zoo.pkl"
    file.write_bytes(pickle.dumps({"blobs": blobs, "cfg": "text"}, protocol=3))
    x = clip(*shape)
    with torch.no_grad():
        expected = PySlowFastNet(state, **options)(x)
    torch.testing.assert_close(outputs(name, file, x), expected, rtol=1e-5, atol=1e-5)


def test_c2d_of_the_zoo_has_no_pool_over_time(tmp_path) -> None:
    """Its names and shapes are those of the C2D with the pool, whose accuracy it would lose in silence."""
    state = to_pyslowfast(randomised("c2d_r50").state_dict())
    file = tmp_path / "C2D_NOPOOL_8x8_R50.pkl"
    file.write_bytes(pickle.dumps({"blobs": to_caffe2(state)}, protocol=3))
    with pytest.raises(CheckpointError, match=r"C2D_NOPOOL.*without pools over time: c2d_nopool_r50"):
        outputs("c2d_r50", file, clip(2, 32))


def test_caffe2_names_that_are_none() -> None:
    assert caffe2.their_name("res2_0_branch2d_w") is None
    assert caffe2.their_name("nonlocal_conv3_1_w") is None
    assert caffe2.their_name("pred_bn_s") is None


# PySlowFast: X3D


def pyslowfasts_x3d(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Its X3D in evaluation, without the softmax, of one position of the head."""

    def conv(x: Tensor, name: str, stride=1) -> Tensor:
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        groups = x.shape[1] // weight.shape[1]
        return F.conv3d(x, weight, bias, stride, [k // 2 for k in weight.shape[2:]], groups=groups)

    x = conv(conv(x, "s1.pathway0_stem.conv_xy", (1, 2, 2)), "s1.pathway0_stem.conv")
    x = F.relu(norm(state, x, "s1.pathway0_stem.bn"))
    for stage in (2, 3, 4, 5):
        block = 0
        while f"s{stage}.pathway0_res{block}.branch2.a.weight" in state:
            name = f"s{stage}.pathway0_res{block}"
            stride = (1, 2, 2) if block == 0 else 1
            y = F.relu(norm(state, conv(x, f"{name}.branch2.a"), f"{name}.branch2.a_bn"))
            y = norm(state, conv(y, f"{name}.branch2.b", stride), f"{name}.branch2.b_bn")
            if f"{name}.branch2.se.fc1.weight" in state:
                squeezed = F.relu(conv(y.mean((2, 3, 4), keepdim=True), f"{name}.branch2.se.fc1"))
                y = y * torch.sigmoid(conv(squeezed, f"{name}.branch2.se.fc2"))
            y = norm(state, conv(F.silu(y), f"{name}.branch2.c"), f"{name}.branch2.c_bn")
            if block == 0:
                x = norm(state, conv(x, f"{name}.branch1", stride), f"{name}.branch1_bn")
            x = F.relu(x + y)
            block += 1
    x = F.relu(norm(state, conv(x, "head.conv_5"), "head.conv_5_bn"))
    x = F.relu(conv(x.mean((2, 3, 4), keepdim=True), "head.lin_5")).flatten(1)
    return x @ state["head.projection.weight"].T + state["head.projection.bias"]


def to_pyslowfasts_x3d(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renamed by hand, with the norm of the first shortcut, which pytorchvideo's X3D has not."""
    names = {
        r"^blocks\.0\.conv\.conv_t\.": "s1.pathway0_stem.conv_xy.",
        r"^blocks\.0\.conv\.conv_xy\.": "s1.pathway0_stem.conv.",
        r"^blocks\.0\.norm\.": "s1.pathway0_stem.bn.",
        r"^blocks\.5\.pool\.pre_conv\.": "head.conv_5.",
        r"^blocks\.5\.pool\.pre_norm\.": "head.conv_5_bn.",
        r"^blocks\.5\.pool\.post_conv\.": "head.lin_5.",
        r"^blocks\.5\.proj\.": "head.projection.",
        r"branch1_conv": "branch1",
        r"branch1_norm": "branch1_bn",
        r"branch2\.norm_b\.1\.block\.0": "branch2.se.fc1",
        r"branch2\.norm_b\.1\.block\.2": "branch2.se.fc2",
        r"branch2\.norm_b\.0": "branch2.b_bn",
        r"branch2\.conv_(\w)": r"branch2.\1",
        r"branch2\.norm_(\w)": r"branch2.\1_bn",
    }
    renamed = {}
    for key, value in state.items():
        name = re.sub(
            r"^blocks\.(\d)\.res_blocks\.(\d+)\.", lambda m: f"s{int(m[1]) + 1}.pathway0_res{m[2]}.", key
        )
        for pattern, theirs in names.items():
            name = re.sub(pattern, theirs, name)
        renamed[name] = value
    generator = torch.Generator().manual_seed(1)
    channels = renamed["s2.pathway0_res0.branch1.weight"].shape[0]
    for tensor in ("weight", "bias", "running_mean", "running_var"):
        values = torch.rand(channels, generator=generator) + (0.5 if tensor == "running_var" else -0.5)
        renamed[f"s2.pathway0_res0.branch1_bn.{tensor}"] = values
    renamed["s2.pathway0_res0.branch1_bn.num_batches_tracked"] = torch.tensor(1)
    return renamed


def test_x3d_files_give_pyslowfasts_outputs(tmp_path) -> None:
    state = to_pyslowfasts_x3d(randomised("x3d_s").state_dict())
    torch.save({"model_state": state}, tmp_path / "x3d_s.pyth")
    x = clip(4, 64)
    with torch.no_grad():
        expected = pyslowfasts_x3d(state, x)
    torch.testing.assert_close(outputs("x3d_s", tmp_path / "x3d_s.pyth", x), expected, rtol=1e-4, atol=1e-5)
    del state["s2.pathway0_res0.branch1_bn.bias"]
    torch.save({"model_state": state}, tmp_path / "x3d_s.pyth")
    with pytest.raises(CheckpointError, match="it also has s2"):
        outputs("x3d_s", tmp_path / "x3d_s.pyth", x)


# mmaction2


class MMNet:
    """mmaction2's ResNet3d, ResNet3dSlowOnly and ResNet3dSlowFast with their heads, over its own state dict."""

    def __init__(self, state: dict[str, Tensor], stem_stride: int = 1, pool2: bool = False) -> None:
        self.state, self.stem_stride, self.pool2 = state, stem_stride, pool2

    def conv(self, x: Tensor, name: str, stride=1, relu: bool = True) -> Tensor:
        weight = self.state[f"{name}.conv.weight"]
        x = F.conv3d(x, weight, None, stride, [k // 2 for k in weight.shape[2:]])
        x = norm(self.state, x, f"{name}.bn")
        return F.relu(x) if relu else x

    def stem(self, x: Tensor, path: str) -> Tensor:
        x = self.conv(x, f"{path}conv1", (self.stem_stride, 2, 2))
        return F.max_pool3d(x, (1, 3, 3), (self.stem_stride, 2, 2), (0, 1, 1))

    def layer(self, x: Tensor, name: str, first: bool) -> Tensor:
        block = 0
        while f"{name}.{block}.conv1.conv.weight" in self.state:
            at, stride = f"{name}.{block}", (1, 2, 2) if block == 0 and not first else 1
            y = self.conv(self.conv(x, f"{at}.conv1"), f"{at}.conv2", stride)
            y = self.conv(y, f"{at}.conv3", relu=False)
            x = self.conv(x, f"{at}.downsample", stride, relu=False) if block == 0 else x
            x, block = F.relu(x + y), block + 1
        return x

    def lateral(self, slow: Tensor, fast: Tensor, name: str) -> Tensor:
        weight = self.state[f"backbone.slow_path.{name}_lateral.conv.weight"]
        return torch.cat([slow, F.conv3d(fast, weight, None, (4, 1, 1), (weight.shape[2] // 2, 0, 0))], 1)

    def __call__(self, x: Tensor) -> Tensor:
        if "backbone.conv1.conv.weight" in self.state:
            x = self.stem(x, "backbone.")
            for i in (1, 2, 3, 4):
                x = self.layer(x, f"backbone.layer{i}", i == 1)
                x = F.max_pool3d(x, (2, 1, 1), (2, 1, 1)) if i == 1 and self.pool2 else x
            features = x.mean((2, 3, 4))
        else:
            slow, fast = (f"backbone.{path}_path." for path in ("slow", "fast"))
            y, x = self.stem(x[:, :, ::4], slow), self.stem(x, fast)
            y = self.lateral(y, x, "conv1")
            for i in (1, 2, 3, 4):
                y, x = self.layer(y, f"{slow}layer{i}", i == 1), self.layer(x, f"{fast}layer{i}", i == 1)
                y = self.lateral(y, x, f"layer{i}") if i < 4 else y
            features = torch.cat([x.mean((2, 3, 4)), y.mean((2, 3, 4))], 1)
        return features @ self.state["cls_head.fc_cls.weight"].T + self.state["cls_head.fc_cls.bias"]


def to_mmaction2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """From PySlowFast's names, which to_pyslowfast makes, to mmaction2's."""
    parts = {
        "a": "conv1.conv", "a_bn": "conv1.bn", "b": "conv2.conv", "b_bn": "conv2.bn",
        "c": "conv3.conv", "c_bn": "conv3.bn",
    }  # fmt: skip
    names = to_pyslowfast(state)
    two = any("pathway1" in key for key in names)
    renamed = {}
    for key, value in names.items():
        start = f"backbone.{('slow', 'fast')['pathway1' in key]}_path." if two else "backbone."
        name = re.sub(r"^s1\.pathway\d_stem\.", "STARTconv1.", key)
        name = re.sub(r"^s1_fuse\.conv_f2s", "STARTconv1_lateral.conv", name)
        name = re.sub(r"^s(\d)_fuse\.conv_f2s", lambda m: f"STARTlayer{int(m[1]) - 1}_lateral.conv", name)
        name = re.sub(r"^s(\d)\.pathway\d_res(\d+)\.", lambda m: f"STARTlayer{int(m[1]) - 1}.{m[2]}.", name)
        name = re.sub(r"branch2\.(\w+)", lambda m: parts[m[1]], name.replace("START", start))
        name = name.replace("branch1_bn", "downsample.bn").replace("branch1", "downsample.conv")
        renamed[name.replace("head.projection", "cls_head.fc_cls")] = value
    return renamed


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("slowonly_r50_mm", {}, (4, 64)),
        ("i3d_r50_mm", {"stem_stride": 2, "pool2": True}, (8, 64)),
        ("slowfast_r50_mm", {}, (16, 64)),
    ],
)
def test_mmaction2_files_give_its_outputs(tmp_path, name: str, options: dict, shape) -> None:
    state = to_mmaction2(randomised(name).state_dict())
    assert all(key.startswith(("backbone.", "cls_head.")) for key in state)
    torch.save({"meta": {"epoch": 256}, "state_dict": state}, tmp_path / "mm.pth")
    x = clip(*shape)
    with torch.no_grad():
        expected = MMNet(state, **options)(x)
    torch.testing.assert_close(outputs(name, tmp_path / "mm.pth", x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "other"),
    [("i3d_r50_mm", "i3d_r50"), ("slowonly_r50_mm", "slow_r50"), ("i3d_r50_mm", "slowonly_r50_mm")],
)
def test_mmaction2_networks_are_not_others_of_the_same_shapes(tmp_path, name, other) -> None:
    """i3d_r50 has its names and shapes, but half the temporal strides: it would load, and lose accuracy in silence."""
    torch.save({"state_dict": to_mmaction2(randomised(name).state_dict())}, tmp_path / "mm.pth")
    with pytest.raises(CheckpointError, match=f"mm.pth does not fit: it is mmaction2's network {name} here"):
        outputs(other, tmp_path / "mm.pth", clip(2, 32))


# d-li14's octave ResNets


def their_octave_resnet(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """octconv.pytorch's OctResNet in evaluation, by its names: alpha 0.5, the last stage dense."""

    def layer(high: Tensor, low: Tensor | None, name: str, stride: int) -> tuple[Tensor, Tensor | None]:
        def path(x: Tensor, into_out: str) -> Tensor:
            weight = state[f"{name}.conv.conv_{into_out}.weight"]
            return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

        high = F.avg_pool2d(high, 2) if stride == 2 else high
        out_high, out_low = path(high, "h2h"), None
        if f"{name}.conv.conv_h2l.weight" in state:
            out_low = path(F.avg_pool2d(high, 2), "h2l")
        if low is not None:
            if out_low is not None:
                out_low = out_low + path(F.avg_pool2d(low, 2) if stride == 2 else low, "l2l")
            from_low = path(low, "l2h")
            out_high = out_high + (from_low if stride == 2 else F.interpolate(from_low, scale_factor=2.0))
        return norm(state, out_high, f"{name}.bn_h"), None if out_low is None else norm(
            state, out_low, f"{name}.bn_l"
        )

    def relu(pair: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor | None]:
        return F.relu(pair[0]), None if pair[1] is None else F.relu(pair[1])

    x = F.relu(norm(state, F.conv2d(x, state["conv1.weight"], None, 2, 3), "bn1"))
    pair: tuple[Tensor, Tensor | None] = (F.max_pool2d(x, 3, 2, 1), None)
    for stage in (1, 2, 3, 4):
        block = 0
        while f"layer{stage}.{block}.conv1.conv.conv_h2h.weight" in state:
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = relu(layer(*pair, f"{at}.conv1", 1))
            y = layer(*relu(layer(*y, f"{at}.conv2", stride)), f"{at}.conv3", 1)
            shortcut = layer(*pair, f"{at}.downsample.0", stride) if block == 0 else pair
            low = None if y[1] is None else y[1] + shortcut[1]
            pair, block = relu((y[0] + shortcut[0], low)), block + 1
    return pair[0].mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]


def their_octave_state(blocks=(1, 2, 1, 1)) -> dict[str, Tensor]:
    """Random weights under octconv.pytorch's names and in its shapes."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * (2 / max(np.prod(shape[1:]), 1)) ** 0.5

    state: dict[str, Tensor] = {
        "conv1.weight": random(64, 3, 7, 7),
        "fc.weight": random(10, 2048),
        "fc.bias": random(10),
    }

    def add_norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels, generator=generator) + 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(channels, generator=generator)
        state[f"{name}.running_mean"] = 0.1 * torch.randn(channels, generator=generator)
        state[f"{name}.running_var"] = torch.rand(channels, generator=generator) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def add(name: str, into: int, out: int, kernel: int, alpha_in: float, alpha_out: float) -> None:
        ins = {"h": into - int(alpha_in * into), "l": int(alpha_in * into)}
        outs = {"h": out - int(alpha_out * out), "l": int(alpha_out * out)}
        for i, columns in ins.items():
            for o, rows in outs.items():
                if columns and rows:
                    state[f"{name}.conv.conv_{i}2{o}.weight"] = random(rows, columns, kernel, kernel)
        for o, rows in outs.items():
            if rows:
                add_norm(f"{name}.bn_{o}", rows)

    add_norm("bn1", 64)
    channels = 64
    for stage, number in enumerate(blocks, start=1):
        width, out = 32 * 2**stage, 128 * 2**stage
        inside = 0.0 if stage == 4 else 0.5
        for block in range(number):
            start = 0.0 if (stage, block) == (1, 0) or (stage == 4 and block) else 0.5
            at = f"layer{stage}.{block}"
            add(f"{at}.conv1", channels, width, 1, start, inside)
            add(f"{at}.conv2", width, width, 3, inside, inside)
            add(f"{at}.conv3", width, out, 1, inside, inside)
            if block == 0:
                add(f"{at}.downsample.0", channels, out, 1, start, inside)
            channels = out
    return state


def test_octave_resnets_of_d_li14_are_twins_of_dense_ones() -> None:
    state = their_octave_state()
    dense, alpha = oct_resnet.as_dense(state)
    assert alpha == 0.5
    network = ResNet(Bottleneck, [1, 2, 1, 1], num_classes=10).eval()
    network.load_state_dict(dense)  # strict: torchvision's names and shapes
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = their_octave_resnet(state, x)
        found = octavize(network, 0.5).eval()(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_octave_resnet_inflated_for_video(tmp_path) -> None:
    state = their_octave_state((3, 4, 6, 3))
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "oct50.pth")
    model = create_model("i3d_r50", alpha=0.5, num_classes=10).eval()
    said = inflate_file(tmp_path / "oct50.pth", model)
    assert "trained at alpha 0.5" in said
    network = octavize(ResNet(Bottleneck, [3, 4, 6, 3], num_classes=10), 0.5).eval()
    network.load_state_dict(oct_resnet.as_dense(state)[0])
    weight = model.state_dict()["blocks.1.res_blocks.0.branch2.conv_a.weight"]
    image = network.state_dict()["layer1.0.conv1.weight"]
    torch.testing.assert_close(weight.sum(2), image)


def test_octave_resnet_without_a_path(tmp_path) -> None:
    state = their_octave_state()
    del state["layer2.0.conv2.conv.conv_l2h.weight"]
    torch.save(state, tmp_path / "oct.pth")
    with pytest.raises(CheckpointError, match=r"layer2\.0\.conv2 lacks its path conv_l2h"):
        inflate_file(tmp_path / "oct.pth", create_model("i3d_r50"))
