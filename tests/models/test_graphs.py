"""Calls recorded as CUDA graphs: which, and that the results are the callers' own. Recording itself needs a GPU."""

import copy

import torch
from torch import nn

from octvideo.models import create_model, graphs, optimize
from octvideo.models.graphs import Recorded


def rehearse(monkeypatch) -> list[int]:
    """Recordings that run their call anew into the same memory, as graphs do."""
    made: list[int] = []

    def record(run):
        output = run()
        made.append(1)

        def replay():
            return output.copy_(run())

        return replay

    monkeypatch.setattr(graphs, "can_record", lambda x: True)
    monkeypatch.setattr(graphs, "record", record)
    return made


def test_shapes_that_come_again_are_recorded(monkeypatch):
    made = rehearse(monkeypatch)
    network = Recorded(nn.Linear(3, 2))
    one, other, last = torch.randn(4, 3), torch.randn(4, 3), torch.randn(1, 3)
    first, second, third = network(one), network(other), network(one)
    assert len(made) == 1
    torch.testing.assert_close(first, third)
    torch.testing.assert_close(second, network.model(other))
    network(last)  # an epoch's last batch
    network(one)
    assert len(made) == 1


def test_weights_that_move_are_recorded_anew(monkeypatch):
    made = rehearse(monkeypatch)
    network = Recorded(nn.Linear(3, 2))
    x = torch.randn(4, 3)
    network(x), network(x)
    network.double()
    found = network(x.double()), network(x.double())
    assert len(made) == 2
    torch.testing.assert_close(found[1], network.model(x.double()))
    assert copy.deepcopy(network)._recordings == {}


def test_an_optimised_network_on_a_cpu_is_itself():
    network = create_model("i3d_tiny", alpha=0.25, num_classes=3).eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(optimize(network, graphs=True)(clip), network(clip), atol=1e-4, rtol=1e-3)
