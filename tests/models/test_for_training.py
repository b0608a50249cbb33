"""The network that a training calls, where norms are joined with what is behind them."""

import operator

import pytest
import torch
from torch import nn

import octvideo
from octvideo.layers.norm import batch_norm
from octvideo.models import create_model, for_training, optimize
from tests.gpu.precision import distance
from tests.models.networks import CLIP
from tests.training.runs import Record, small_data, small_model, small_trainer, write_videos


class InPlace(nn.Module):
    """A block as torchvision writes them, and one whose ReLU is not all that takes the norm's output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4), nn.ReLU(inplace=True)
        self.other, self.other_norm, self.other_relu = nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x))
        y += x
        y = self.relu(y)
        z = self.other_norm(self.other(y))
        return z * self.other_relu(z)


def joined(network: nn.Module) -> nn.Module:
    with octvideo.engine("triton"):
        return for_training(network)


def test_only_for_an_engine_with_kernels_for_them():
    network = create_model("i3d_tiny", num_classes=5)
    assert for_training(network) is network
    assert joined(network) is not network


def test_what_cannot_be_traced_runs_as_it_is():
    class Choosy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    network = Choosy()
    assert joined(network) is network


@pytest.mark.parametrize("alpha", [0, 0.25])
def test_the_same_modules_and_the_same_numbers(alpha):
    """In evaluation to the bit; a module that is replaced later, or moved, is replaced in both."""
    network = create_model("i3d_tiny", num_classes=5, alpha=alpha)
    runner = joined(network)
    assert list(runner.state_dict()) == list(network.state_dict())
    assert all(one is other for one, other in zip(runner.parameters(), network.parameters(), strict=True))
    behind = [len(node.args) > 3 for node in runner.graph.nodes if node.target is batch_norm]
    assert sum(behind) >= 0.7 * len(behind) > 0
    nn.SyncBatchNorm.convert_sync_batchnorm(network)
    network.double()
    x = torch.randn(CLIP, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(runner.eval()(x), network.eval()(x))


def test_additions_in_place_and_values_that_others_read():
    torch.manual_seed(0)
    network = InPlace().double()
    runner = joined(network)
    calls = [node for node in runner.graph.nodes if node.target is batch_norm]
    assert [len(node.args) for node in calls] == [5, 3]
    assert operator.iadd not in [node.target for node in runner.graph.nodes]
    x = torch.randn(2, 4, 2, 3, 3, dtype=torch.float64)
    assert distance([runner(x.clone())], [network(x.clone())]) < 1e-12


def test_the_network_itself_is_optimised_as_ever():
    network = create_model("i3d_tiny", num_classes=5, alpha=0.25).eval()
    joined(network)
    graph = optimize(network).graph
    assert batch_norm not in [node.target for node in graph.nodes]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"alpha": 0.25, "checkpoint_activations": True}], ids=str)
def test_a_training_runs_it(settings, tmp_path, make_video):
    """Twice, on this device by torch's norms: the losses are what they are without the engine."""
    csv = write_videos(tmp_path, make_video)

    def train(engine: str) -> list[dict[int, float]]:
        model, records = small_model(dropout=0.0, precise_norm_batches=1, **settings), [Record(), Record()]
        before = list(model.state_dict())
        with octvideo.engine(engine):
            for number, record in enumerate(records):
                folder = tmp_path / f"{engine} {number}"
                trainer = small_trainer(
                    folder, [record], max_epochs=1, limit_train_batches=2, limit_val_batches=1
                )
                trainer.fit(model, datamodule=small_data(csv))
        assert ("forward" in vars(model.network)) == (engine == "triton" or bool(settings))
        assert list(model.state_dict()) == before
        return [record.losses for record in records]

    found = train("triton")
    assert found == train("torch")
    assert len(found[0]) == 2
