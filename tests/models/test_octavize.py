"""octavize on every network of the paper."""

import copy
import itertools
import warnings

import pytest
import torch
from torch import nn

from octvideo.layers import Octave, OctaveConv2d, OctaveConv3d, OctavePool
from octvideo.models import count_macs, count_parameters, create_model, octavize
from tests.models.networks import FAST, all_networks, keep_centre_taps, randomise_norms, traced_networks


def shapes(model):
    return {name: value.shape for name, value in model.state_dict().items()}


@pytest.mark.parametrize("network", all_networks())
def test_dense_weights_keep_their_meaning(network):
    """With centre taps and a clip without spatial variation, resampling changes nothing: logits must be equal."""
    torch.manual_seed(0)
    dense = network.build().eval()
    randomise_norms(dense)
    keep_centre_taps(dense)
    x = torch.randn(*network.shape[:-2], 1, 1).expand(network.shape).contiguous()
    for last in (True, False):
        twin = octavize(dense, network.alpha, dense_last_stage=last)
        with torch.no_grad():
            expected = dense(x)
            found = twin(x)
        torch.testing.assert_close(found, expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize("network", all_networks())
def test_state_gradients_and_copies(network):
    torch.manual_seed(0)
    dense = network.build()
    randomise_norms(dense)
    before = copy.deepcopy(dense.state_dict())
    twin = octavize(dense, network.alpha)
    assert shapes(twin) == shapes(dense)
    assert count_parameters(twin) == count_parameters(dense)
    assert any(isinstance(m, OctaveConv2d | OctaveConv3d) for m in twin.modules())
    assert not any(isinstance(m, OctaveConv2d | OctaveConv3d) for m in dense.modules())
    assert all(torch.equal(before[name], value) for name, value in dense.state_dict().items())
    twin.load_state_dict(network.build().state_dict(), strict=True)
    randomise_norms(twin)

    x = torch.randn(network.shape)
    twin.train()(x).square().sum().backward()
    without = [name for name, p in twin.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []

    twin.eval()
    copied = copy.deepcopy(twin)
    norms = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(twin))
    kinds = (nn.BatchNorm2d, nn.BatchNorm3d)
    count = sum(isinstance(m, kinds) for m in dense.modules())
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in norms.modules()) == count
    with torch.no_grad():
        y = twin(x)
        assert torch.equal(copied(x), y)
        torch.testing.assert_close(norms(x), y)
        dense.eval()
        assert torch.equal(octavize(dense, 0.0)(x), dense(x))


@pytest.mark.parametrize("network", traced_networks())
def test_compiles_whole_and_exports(network):
    torch._dynamo.reset()
    torch.manual_seed(0)
    twin = octavize(network.build(), network.alpha).eval()
    x = torch.randn(network.shape)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = twin(x)
        compiled = torch.compile(twin, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), expected)
        exported = torch.export.export(twin, (x,))
        torch.testing.assert_close(exported.module()(x), expected)


@pytest.mark.slow
def test_compiled_training_step_equals_eager():
    torch._dynamo.reset()
    torch.manual_seed(0)
    eager = octavize(FAST["i3d_tiny"].build(), 0.25).double()
    randomise_norms(eager)
    other = copy.deepcopy(eager)
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    for model in (eager, compiled):
        model(x).square().sum().backward()
    for (name, a), b in zip(eager.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for name, value in eager.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, msg=name)


class Plain(nn.Module):
    """A residual network with everything that octavize rewrites, for the comparison below."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.first = nn.Conv2d(8, 16, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.act = nn.ReLU(inplace=True)
        self.spatial = nn.Conv2d(16, 16, 3, 1, 1)
        self.squeeze = nn.Conv2d(16, 16, 1)
        self.down = nn.Conv2d(32, 24, 3, 2, 1)
        self.classifier = nn.Linear(24, 5)

    def forward(self, x):
        x = self.pool(self.stem(x))
        x = self.act(self.norm(self.first(x)))
        y = x + self.spatial(x)
        y = y * torch.sigmoid(self.squeeze(y.mean((2, 3), keepdim=True)))
        z = self.down(torch.cat([x, y], 1))
        return self.classifier(z.mean((2, 3)))


def by_hand(net, x, low):
    """The octave form of Plain in evaluation, from the paper's equations: ``low`` of 16 channels are low."""
    f = nn.functional

    def pooled(t):
        return f.avg_pool2d(t, 2, ceil_mode=True, count_include_pad=False)

    def up(t, size):
        return f.interpolate(t, scale_factor=2)[..., : size[-2], : size[-1]]

    high = 16 - low
    x = f.max_pool2d(net.stem(x), 3, 2, 1)
    parts = [f.conv2d(x, net.first.weight[:high]), f.conv2d(pooled(x), net.first.weight[high:])]
    norm = net.norm
    x_high, x_low = (
        f.relu(
            (p - norm.running_mean[rows, None, None]) / (norm.running_var[rows, None, None] + norm.eps).sqrt()
            * norm.weight[rows, None, None] + norm.bias[rows, None, None]
        )
        for p, rows in zip(parts, (slice(high), slice(high, None)), strict=True)
    )  # fmt: skip
    w, b = net.spatial.weight, net.spatial.bias
    y_high = x_high + f.conv2d(x_high, w[:high, :high], b[:high], padding=1)
    y_high = y_high + up(f.conv2d(x_low, w[:high, high:], padding=1), x_high.shape)
    y_low = x_low + f.conv2d(x_low, w[high:, high:], b[high:], padding=1)
    y_low = y_low + f.conv2d(pooled(x_high), w[high:, :high], padding=1)
    means = torch.cat([y_high.mean((2, 3), keepdim=True), y_low.mean((2, 3), keepdim=True)], 1)
    scale = torch.sigmoid(net.squeeze(means))
    y_high, y_low = y_high * scale[:, :high], y_low * scale[:, high:]
    # Dense channels 0..15 are x, 16..31 are y, each with its high ones first; the last stage is dense.
    w = net.down.weight
    highs = torch.cat([w[:, :high], w[:, 16 : 16 + high]], 1)
    lows = torch.cat([w[:, high:16], w[:, 16 + high :]], 1)
    z = f.conv2d(pooled(torch.cat([x_high, y_high], 1)), highs, net.down.bias, padding=1)
    z = z + f.conv2d(torch.cat([x_low, y_low], 1), lows, padding=1)
    return net.classifier(z.mean((2, 3)))


@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("side", [32, 37])
def test_equals_the_network_written_by_hand(alpha, side):
    torch.manual_seed(0)
    net = Plain().double().eval()
    randomise_norms(net)
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    torch.testing.assert_close(octavize(net, alpha)(x), by_hand(net, x, int(16 * alpha)))


@pytest.mark.parametrize("option", [
    {"downsample": "stride"}, {"upsample": "linear"}, {"high_to_low": False}, {"low_to_high": False},
    {"layer_alphas": {"spatial": 0}}, {"channel_multiple": 8}, {"dense_stem": False},
])  # fmt: skip
def test_every_option_changes_the_result(option):
    torch.manual_seed(0)
    net = Plain().double().eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert not torch.allclose(octavize(net, 0.25, **option)(x), octavize(net, 0.25)(x))


def test_layers_with_an_alpha_of_their_own():
    net = Plain()
    twin = octavize(net, 0.25, layer_alphas={"spat*": 0})
    assert twin.get_submodule("spatial").out_split.low == ()
    assert twin.get_submodule("first").out_split.low == (12, 13, 14, 15)
    assert type(twin.get_submodule("stem")) is nn.Conv2d
    assert octavize(net, 0.25, dense_last_stage=False).get_submodule("down").out_split.low != ()
    alone = octavize(net, 0, layer_alphas={"*": 0.5, "spatial": 0})  # the last pattern that matches
    assert alone.get_submodule("first").out_split.low == tuple(range(8, 16))
    assert alone.get_submodule("spatial").out_split.low == ()
    by_layer = octavize(net, 0.5, layer_alphas={"first": 0.25}).state_dict()
    assert by_layer.keys() == net.state_dict().keys()


def test_an_alpha_a_stage_is_that_alpha_there():
    """Addends of a residual block are of one stage; what comes from the stage before is split anew."""
    torch.manual_seed(0)
    dense = create_model("i3d_tiny", num_classes=3).eval()
    stages = {"blocks.1.*": 0.5, "blocks.2.*": 0.125}
    twin = octavize(dense, 0.25, layer_alphas=stages)
    shares = {
        (path.split(".")[1], len(m.out_split.low) / m.out_channels)
        for path, m in twin.named_modules()
        if isinstance(m, OctaveConv3d) and m.out_split.low
    }
    assert {share for stage, share in shares if stage == "1"} == {0.5}
    assert {share for stage, share in shares if stage == "2"} == {0.125}
    shape = (1, 3, 4, 32, 32)
    lowest, highest = (count_macs(octavize(dense, alpha), shape) for alpha in (0.5, 0.125))
    assert lowest < count_macs(twin, shape) < highest
    assert torch.isfinite(twin(torch.randn(shape))).all()


class ByTraining(Plain):
    def forward(self, x):
        return super().forward(x) * (2 if self.training else 1)


class ByValue(Plain):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


class Unused(Plain):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (Plain, {"alpha": 1.5}, "alpha is 1.5; it must be between 0 and 1"),
        (Plain, {"alpha": 1.0}, "must be below 1"),
        (Plain, {"alpha": 0, "layer_alphas": {"first": 1}}, r"layer_alphas\['first'\] is 1; .* must be below 1"),
        (Plain, {"alpha": 0.01}, r"first: alpha is 0.01, which leaves 16 high and 0 low of 16 channels"),
        (Plain, {"alpha": 0.5, "downsample": "max"}, "downsample is 'max'; it must be one of avg_pool, stride"),
        (Plain, {"alpha": 0.5, "upsample": "x"}, "upsample is 'x'; it must be one of nearest, linear"),
        (Plain, {"alpha": 0.5, "channel_multiple": 0}, "channel_multiple is 0"),
        (Plain, {"alpha": 0.5, "layer_alphas": {"nope*": 0}}, "'nope\\*', which matches no convolution"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), {"alpha": 0.5}, "no 2D or 3D convolution"),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 3)), {"alpha": 0.5}, "outside its stem and last stage"),
        (ByTraining, {"alpha": 0.5}, "something else in training than in evaluation"),
        (ByValue, {"alpha": 0.5}, "cannot be traced by torch.fx"),
        (Unused, {"alpha": 0.5}, "does not use other.bias, other.weight"),
    ],
)  # fmt: skip
def test_refuses(build, arguments, message):
    with pytest.raises(ValueError, match=message):
        octavize(build(), **arguments)


def test_refuses_groups_that_cannot_be_split():
    import torchvision

    with pytest.raises(ValueError, match=r"layer1\.0\.conv1: alpha is 0.125.*32 groups"):
        octavize(torchvision.models.resnext50_32x4d(), 0.125)


@pytest.mark.parametrize("kind", [nn.MaxPool2d, nn.AvgPool2d])
def test_pools_of_every_size_halve_a_low_map_as_a_high_one(kind):
    """Every kernel, stride, padding, rounding and parity: the shapes are the dense network's."""
    for kernel, stride, padding, ceil in itertools.product(
        (1, 2, 3, 4, 5), (1, 2, 3), (0, 1, 2), (True, False)
    ):
        if padding > kernel // 2:
            continue
        pool = kind(kernel, stride, padding, ceil_mode=ceil)
        dense = nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.MaxPool2d(2, 2, ceil_mode=True), nn.Conv2d(4, 8, 1), pool, nn.Conv2d(8, 8, 1),
            nn.MaxPool2d(2, 2, ceil_mode=True), nn.Conv2d(8, 4, 1),
        ).eval()  # fmt: skip
        twin = octavize(dense, 0.5)
        for side in (32, 34, 35, 36, 37):
            x = torch.rand(1, 3, side, side + 1)
            assert twin(x).shape == dense(x).shape, (kernel, stride, padding, ceil, side)


def test_a_low_map_that_runs_out_of_pixels_repeats_its_last():
    """GoogLeNet's pools at 34 pixels: the high one has 17 windows, so the low one needs 9; 17 low pixels give 8."""
    pool = OctavePool(nn.MaxPool2d(3, 2, ceil_mode=True))
    y = pool(Octave(torch.rand(1, 2, 34, 34), low := torch.rand(1, 2, 17, 17)))
    assert y.high.shape[2:] == (17, 17)
    assert y.low.shape[2:] == (9, 9)
    assert torch.equal(y.low[..., -1, -1], low[..., -1, -1])
    assert torch.equal(y.low[..., :8, :8], nn.functional.max_pool2d(low, 3, 2))
