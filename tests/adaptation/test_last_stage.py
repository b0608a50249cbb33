"""What stands behind the last octave convolution, trained on kept maps."""

import copy

import pytest
import torch
from torch import nn

from octvideo.adaptation.last_stage import BATCH, split_at_last_stage, train_last_stage
from octvideo.adaptation.outputs import DenseOutputs, head_of
from octvideo.layers import OctaveConv2d, OctaveConv3d
from octvideo.models import create_model, octavize
from tests.models.networks import Network, all_networks, randomise_norms

INCEPTION = Network(lambda: create_model("i3d_inception"), (1, 3, 4, 32, 32))


@pytest.mark.parametrize("network", [*all_networks(), pytest.param(INCEPTION, id="i3d_inception")])
def test_both_parts_together_are_the_network(network: Network) -> None:
    torch.manual_seed(0)
    octave = octavize(network.build().eval(), 0.25)
    front, last = split_at_last_stage(octave)
    clip = torch.randn(network.shape)
    with torch.no_grad():
        torch.testing.assert_close(last(*front(clip)), octave(clip), rtol=0, atol=0)
    assert not any(isinstance(m, OctaveConv2d | OctaveConv3d) and not m.is_dense for m in last.modules())
    called = [octave.get_submodule(n.target) for n in front.graph.nodes if n.op == "call_module"]
    weighted = [m for m in called if isinstance(m, nn.Conv2d | nn.Conv3d | nn.Linear)]
    assert isinstance(weighted[-1], OctaveConv2d | OctaveConv3d)  # all that is behind it is trained
    of_octave = {id(p) for p in octave.parameters()}
    assert {id(p) for p in (*front.parameters(), *last.parameters())} == of_octave
    assert {id(p) for p in octave.get_submodule(head_of(octave)).parameters()} <= {
        id(p) for p in last.parameters()
    }


def networks() -> tuple[torch.Tensor, nn.Module, torch.fx.GraphModule]:
    """Clips, a dense network, and its octave twin whose last stage has lost its way."""
    torch.manual_seed(0)
    dense = create_model("i3d_tiny", num_classes=5).eval()
    randomise_norms(dense)
    octave = octavize(dense, 0.25)
    with torch.no_grad():
        for parameter in split_at_last_stage(octave)[1].parameters():
            parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
    return torch.randn(40, 3, 4, 32, 32), dense, octave


def test_it_comes_nearer_and_leaves_the_rest_as_it_is() -> None:
    clips, dense, octave = networks()
    front, _ = split_at_last_stage(octave)
    kept = [copy.deepcopy(p) for p in front.parameters()]
    wanted = DenseOutputs(dense, clips, head_of(octave))
    before = wanted.distance(octave)
    shares = []
    for _ in range(8):
        train_last_stage(
            octave, clips, wanted, most_bytes=2**30,
            progress=lambda share, loss: shares.append(share),
        )  # fmt: skip
    assert wanted.distance(octave) < 0.9 * before
    for parameter, was in zip(front.parameters(), kept, strict=True):
        torch.testing.assert_close(parameter, was, rtol=0, atol=0)
    assert shares[:40] == sorted(shares[:40])
    assert max(shares) == 1


def test_only_so_many_bytes_are_kept() -> None:
    clips, dense, octave = networks()
    front, _ = split_at_last_stage(octave)
    of_one = sum(x.nbytes for x in front(clips[:1]))
    asked: set[int] = set()
    wanted = DenseOutputs(dense, clips, head_of(octave))

    def note(numbers: list[int]):
        asked.update(numbers)
        return wanted(numbers)

    train_last_stage(octave, clips, note, most_bytes=BATCH * of_one)
    assert len(asked) == BATCH
    assert max(asked) - min(asked) > BATCH  # spread over all clips


def test_the_dense_network_is_asked_once_for_each_clip() -> None:
    clips, dense, octave = networks()
    seen: list[torch.Tensor] = []
    dense.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    wanted = DenseOutputs(dense, clips, head_of(octave))
    first, again = wanted([3, 1]), wanted([1, 5])
    assert len(seen) == 3
    torch.testing.assert_close(first.logits[1], again.logits[0], rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(first.logits, dense(clips[[3, 1]]), rtol=1e-4, atol=1e-4)
