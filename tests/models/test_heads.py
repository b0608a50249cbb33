"""Clips larger than in training give a head several positions, in every form that a network takes."""

import pytest
import torch
from pytorchvideo.models.head import create_res_basic_head
from torch import nn

from octvideo.card import Card
from octvideo.classifier import VideoClassifier
from octvideo.models import octavize, open_weights
from octvideo.models.checkpoints import CARD_KEY
from octvideo.models.export import export_network
from octvideo.models.exported import load_exported
from octvideo.models.optimize import optimize
from octvideo.models.pathways import MeanOverPositions, VideoNet, any_crop
from octvideo.models.tiny import i3d_tiny
from tests.models.networks import randomise_norms

CARD = Card(name="i3d_tiny", alpha=0.0, num_classes=7)


@pytest.fixture(scope="module")
def networks() -> tuple[nn.Module, nn.Module]:
    """A small I3D whose head pools 4 x 2 x 2, as at 64 pixels; and the same without a rule for more positions."""
    torch.manual_seed(0)
    net = i3d_tiny(model_num_class=7)
    pool = {"pool": nn.AvgPool3d, "pool_kernel_size": (4, 2, 2), "dropout_rate": 0.0}
    head = create_res_basic_head(in_features=512, out_features=7, output_with_global_average=False, **pool)
    nn.init.normal_(head.proj.weight, std=0.3)
    net.blocks[-1] = head
    randomise_norms(net)
    whole = VideoNet(net.blocks).eval()
    ours = create_res_basic_head(in_features=512, out_features=7, **pool)
    ours.load_state_dict(head.state_dict())
    return any_crop(VideoNet(nn.ModuleList([*net.blocks[:-1], ours]))).eval(), whole


@pytest.mark.parametrize(("frames", "side", "positions"), [(4, 64, 1), (4, 48, 1), (4, 96, 4), (6, 90, 12)])
def test_positions_are_averaged_as_probabilities(networks, tmp_path, frames, side, positions) -> None:
    net, whole = networks
    x = torch.randn(2, 3, frames, side, side) * torch.linspace(0, 4, side)
    with torch.no_grad():
        found = net(x)
        logits = whole(x)  # (B, 7, T, H, W)
        assert logits[0, 0].numel() == positions
        torch.testing.assert_close(found.softmax(1), logits.softmax(1).mean((2, 3, 4)))
        if positions == 1:
            torch.testing.assert_close(found, logits.flatten(1))
        else:
            assert (found.softmax(1) - logits.mean((2, 3, 4)).softmax(1)).abs().max() > 1e-3
        torch.testing.assert_close(optimize(net)(x), found, rtol=1e-4, atol=1e-4)
        # A twin has another body and the same head.
        twin = octavize(net, 0.25)
        assert isinstance(twin.get_submodule("blocks.5.output_pool"), MeanOverPositions)
        outputs = []
        twin.get_submodule("blocks.5.output_pool").register_forward_hook(
            lambda module, inputs, output: outputs.append((inputs[0], output))
        )
        of_twin = twin.eval()(x)
        ((before, _),) = outputs
        torch.testing.assert_close(of_twin.softmax(1), before.softmax(1).mean((2, 3, 4)))
        # In training it is the mean of the logits.
        torch.testing.assert_close(
            twin.get_submodule("blocks.5.output_pool").train()(before), before.mean((2, 3, 4), keepdim=True)
        )
    if (frames, side) == (4, 96):
        export_network(net, tmp_path / "net.pt2", input_shape=(frames, side, side), card=CARD)
        torch.testing.assert_close(load_exported(tmp_path / "net.pt2")[0](x), found, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_onnx_averages_probabilities_too(networks, tmp_path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    assert export_network(networks[0], tmp_path / "net.onnx", input_shape=(4, 96, 96), card=CARD) < 1e-3


def test_improbable_classes_have_a_logarithm() -> None:
    logits = torch.tensor([0.0, 2000.0, -3000.0]).view(1, 3, 1, 1, 1).repeat(1, 1, 1, 2, 2)
    torch.testing.assert_close(
        MeanOverPositions().eval()(logits).flatten(), torch.tensor([-2000.0, 0.0, -5000.0])
    )
    one = torch.randn(2, 3, 1, 1, 1)
    assert MeanOverPositions().eval()(one) is one


def test_weights_of_several_classes_average_sigmoids(tmp_path) -> None:
    """An export of such weights averaged the softmax of the positions of a larger crop."""
    classifier = VideoClassifier("x3d_s", num_classes=3, multi_label=True).eval()
    content = {"state_dict": classifier.state_dict(), "hyper_parameters": dict(classifier.hparams)}
    card = {"card": {**classifier.card.to_dict(), "test_crop": 224}}
    torch.save({**content, CARD_KEY: card}, tmp_path / "several.ckpt")
    network, card, _ = open_weights(tmp_path / "several.ckpt")
    assert card.multi_label
    means = [module for module in network.modules() if isinstance(module, MeanOverPositions)]
    assert means
    assert all(module.multi_label for module in means)
