import copy

import pytest
import torch
from torch import nn

import octvideo.engines
from octvideo.layers.frozen import FrozenConv
from octvideo.models import octavize, optimize
from octvideo.models.optimize import _is_native
from tests.models.networks import FAST, SLOW, randomise_norms

# One of each kind: groups, concatenation, depth-wise and squeeze-excitation, pathways, attention.
KINDS = ("resnext50_32x4d", "densenet121", "x3d_s", "slowfast_r50", "i3d_nl_r50")
NETWORKS = [
    *(pytest.param(network, id=name) for name, network in FAST.items()),
    *(pytest.param(SLOW[name], id=name, marks=pytest.mark.slow) for name in KINDS),
]


@pytest.mark.parametrize("network", NETWORKS)
def test_gives_the_same_outputs(network):
    torch.manual_seed(0)
    dense = network.build().eval()
    randomise_norms(dense)
    x = torch.randn(network.shape)
    layout = torch.channels_last_3d if x.dim() == 5 else torch.channels_last
    for model in (dense, octavize(dense, network.alpha)):
        before = copy.deepcopy(model.state_dict())
        fast = optimize(model)
        with torch.no_grad():
            expected = model(x)
            largest = expected.abs().max()
            found = fast(x.to(memory_format=layout))
        torch.testing.assert_close(found / largest, expected / largest, atol=2e-5, rtol=0)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_norms_are_gone():
    from octvideo.models import create_model

    fast = optimize(create_model("i3d_tiny", alpha=0.25))
    assert not any(isinstance(m, nn.BatchNorm3d) for m in fast.modules())
    assert not any(p.requires_grad for p in fast.parameters())


class Shortcuts(nn.Module):
    """The first sum is read again by the second, which nothing reads after the third convolution's addition."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.fourth = (nn.Conv3d(4, 4, 1) for _ in range(4))

    def forward(self, x):
        a = self.first(x)
        b = self.second(a) + a
        c = self.third(b) + a
        return self.fourth(c) + b + x


def test_only_what_is_read_no_more_is_overwritten():
    torch.manual_seed(0)
    model = Shortcuts().eval()
    fast = optimize(model)
    overwrites = {name: m.overwrites for name, m in fast.named_modules() if isinstance(m, FrozenConv)}
    assert overwrites == {
        "fused_first": (),
        "fused_second": (),
        "fused_third": ("high",),
        "fused_fourth": ("high",),
    }
    x = torch.randn(1, 4, 2, 4, 4).to(memory_format=torch.channels_last_3d)
    before = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(fast(x), model(x), atol=1e-5, rtol=1e-5)
    assert torch.equal(x, before)


def test_every_map_is_pooled_once():
    """By the layer that makes it; the rest by average pools: the first octave layers' input, and where sizes halve."""
    from octvideo.models import create_model

    model = create_model("i3d_tiny", alpha=0.25).eval()
    randomise_norms(model)
    fast = optimize(model)
    layers = [m for m in fast.modules() if isinstance(m, FrozenConv)]
    readers: dict[str, int] = {}
    for node in fast.graph.nodes:
        if "pooled" in node.kwargs:
            readers[node.kwargs["pooled"].name] = readers.get(node.kwargs["pooled"].name, 0) + 1
    assert sum(readers.values()) == sum(layer.takes_pooled for layer in layers)
    assert max(readers.values()) == 2  # a block's first convolution and its shortcut
    made = sum(layer.gives_pooled for layer in layers)
    assert 0 < made < len(readers)
    x = torch.randn(1, 3, 8, 64, 64).to(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), model(x), atol=1e-4, rtol=1e-4)


def test_a_network_that_is_native_is_not_compiled(monkeypatch):
    from octvideo.models import create_model

    monkeypatch.setattr("octvideo.engines.native.engine.missing", lambda dtype: None)
    monkeypatch.setattr("octvideo.kernels.convolve.missing", lambda dtype: None)
    network = optimize(create_model("i3d_r50", alpha=0.25))
    assert _is_native(network)
    assert not _is_native(optimize(create_model("x3d_s")))  # depth-wise
    with octvideo.engine("torch"):
        assert not _is_native(network)


@pytest.mark.slow
@pytest.mark.parametrize("engine", octvideo.engines.ENGINES)
@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_compiled(alpha, engine):
    from octvideo.models import create_model

    torch.manual_seed(0)
    model = create_model("i3d_tiny", alpha=alpha).eval()
    randomise_norms(model)
    x = torch.randn(1, 3, 8, 64, 64).to(memory_format=torch.channels_last_3d)
    with torch.no_grad(), octvideo.engine(engine):
        torch.testing.assert_close(optimize(model, compile=True)(x), model(x), atol=1e-4, rtol=1e-4)
