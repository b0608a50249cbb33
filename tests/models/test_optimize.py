import copy

import pytest
import torch
from torch import nn

from octvideo.layers.fused import FusedConv
from octvideo.models import octavize, optimize
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
    overwrites = {name: m.overwrites for name, m in fast.named_modules() if isinstance(m, FusedConv)}
    assert overwrites == {
        "fused_first": False,
        "fused_second": False,
        "fused_third": True,
        "fused_fourth": True,
    }
    x = torch.randn(1, 4, 2, 4, 4).to(memory_format=torch.channels_last_3d)
    before = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(fast(x), model(x), atol=1e-5, rtol=1e-5)
    assert torch.equal(x, before)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_compiled(alpha):
    from octvideo.models import create_model

    torch.manual_seed(0)
    model = create_model("i3d_tiny", alpha=alpha).eval()
    randomise_norms(model)
    x = torch.randn(1, 3, 8, 64, 64).to(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        torch.testing.assert_close(optimize(model, compile=True)(x), model(x), atol=1e-4, rtol=1e-4)
