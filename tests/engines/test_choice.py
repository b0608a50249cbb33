"""Which engine is chosen, why the others are not, and how a person forces one."""

import pytest
import torch
from torch import nn

import octvideo
from octvideo.engines import ENGINES, choose, forced, reasons
from octvideo.engines.geometry import Geometry
from octvideo.engines.interface import Request
from octvideo.errors import InputError
from octvideo.layers.frozen import FrozenConv


def request(x=None, trains=False):
    x = torch.zeros(1, 8, 2, 8, 8) if x is None else x
    return Request(
        x, torch.zeros(8, 8, 1, 1, 1, dtype=x.dtype), [8], [Geometry((1,) * 3, (0,) * 3, (1,) * 3)], trains
    )


def test_torch_does_everything():
    for x in (torch.zeros(1, 8, 2, 8, 8).double(), torch.zeros(1, 8, 2, 8, 8, device="meta")):
        assert choose(request(x)).name == "torch"
        assert choose(request(x, trains=True)).name == "torch"


def test_a_person_chooses(monkeypatch):
    for name in ENGINES:
        with octvideo.engine(name):
            assert forced() == name
            assert choose(request()).name in (name, "torch")
            assert choose(request(torch.zeros(1, 8, 2, 8, 8).double())).name == "torch"
    assert forced() is None
    monkeypatch.setenv("OCTVIDEO_ENGINE", "torch")
    assert choose(request()).name == "torch"
    with octvideo.engine("onednn"):  # the nearer one wins
        assert forced() == "onednn"


def test_an_unknown_engine_is_refused(monkeypatch):
    with (
        pytest.raises(InputError, match="engine is 'cuda'; it must be one of native, onednn, triton, torch"),
        octvideo.engine("cuda"),
    ):
        pass
    monkeypatch.setenv("OCTVIDEO_ENGINE", "fast")
    with pytest.raises(InputError, match="OCTVIDEO_ENGINE is 'fast'; it must be one of"):
        choose(request())


def test_reasons_are_said():
    found = reasons(torch.float64)
    assert found["torch"] is None
    assert "float64" in found["onednn"]
    assert "float64" in found["native"]
    assert reasons(torch.float32, trains=True)["onednn"] == "it is for constant weights"
    assert "meta" in reasons(torch.float32, "meta")["native"]


def test_nothing_traced_is_handed_to_foreign_code():
    """Compiling, exporting, `torch.func`, FLOP counters: each sees torch's operations."""
    layer = FrozenConv(nn.Conv3d(8, 8, 1))
    x = torch.randn(1, 8, 2, 8, 8).to(memory_format=torch.channels_last_3d)
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(x)
    assert counter.get_total_flops() == 2 * 8 * 8 * 2 * 64
    assert torch.func.vmap(lambda y: layer(y[None]).sum())(x).shape == (1,)
    with_gradient = x.clone().requires_grad_()
    layer(with_gradient).sum().backward()
    assert with_gradient.grad is not None
    exported = torch.export.export(layer, (x,))
    assert "conv" in str(exported.graph)
