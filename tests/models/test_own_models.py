"""Registered networks, names by pattern, and heads for other classes."""

import pytest
import torch
from torch import nn

from octvideo import VideoClassifier
from octvideo.card import Card
from octvideo.errors import InputError
from octvideo.models import MODELS, ModelSpec, create_model, list_models, register_model, reset_classifier
from octvideo.models.tiny import i3d_tiny


@pytest.fixture
def registered():
    card = Card(num_frames=4, frame_stride=2, crop=32)
    register_model(
        "my_net", ModelSpec(lambda classes: i3d_tiny(model_num_class=classes), card, "blocks.5.proj")
    )
    yield "my_net"
    del MODELS["my_net"]


def test_names_by_pattern() -> None:
    assert list_models("*i3d*") == [name for name in MODELS if "i3d" in name]
    assert list_models() == list(MODELS)
    assert list_models("nothing") == []


def test_a_registered_network_is_one_of_them(registered: str) -> None:
    assert registered in list_models("my_*")
    model = VideoClassifier(registered, alpha=0.25, num_classes=4)
    assert model(torch.randn(1, 3, 4, 32, 32)).shape == (1, 4)
    with pytest.raises(InputError, match="name is 'my_net', which is a model already"):
        register_model(registered, MODELS["i3d_tiny"])
    with pytest.raises(InputError, match="name is 'my net', allowed are letters"):
        register_model("my net", MODELS["i3d_tiny"])


@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_a_head_for_other_classes(alpha: float) -> None:
    network = create_model("i3d_tiny", alpha=alpha, num_classes=4).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert reset_classifier(network, 7) is network
    assert network(torch.randn(2, 3, 4, 32, 32)).shape == (2, 7)
    after = network.state_dict()
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    assert changed == {"blocks.5.proj.weight", "blocks.5.proj.bias"}


@pytest.mark.parametrize("name", ["mc3_18", "s3d", "x3d_s"])
def test_heads_by_their_other_names(name: str) -> None:
    network = reset_classifier(create_model(name, num_classes=4), 6)
    twin = create_model(name, num_classes=6)
    assert {k: v.shape for k, v in network.state_dict().items()} == {
        k: v.shape for k, v in twin.state_dict().items()
    }


def test_a_layer_by_its_path() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 5, bias=False), nn.ReLU())
    assert reset_classifier(network, 2, path="1")(torch.randn(1, 6)).shape == (1, 2)
    with pytest.raises(InputError, match="Sequential has no layer that is known as its classifier"):
        reset_classifier(network, 2)
    with pytest.raises(InputError, match="path is '2', a ReLU"):
        reset_classifier(network, 2, path="2")
    with pytest.raises(InputError, match="path is 'nothing', allowed is a layer of Sequential"):
        reset_classifier(network, 2, path="nothing")


def test_freezing_needs_a_head() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 5))
    with pytest.raises(InputError, match="backbone_lr_factor is 0, allowed for Sequential is above 0"):
        VideoClassifier(network=network, num_classes=5, backbone_lr_factor=0)
