import pytest
import torch
import torchvision

from octvideo.models import create_model, inflate
from tests.models.networks import randomise_norms


def image_network(num_classes=1000):
    torch.manual_seed(0)
    model = torchvision.models.resnet50(num_classes=num_classes).eval()
    randomise_norms(model)
    return model


def image_features(model, x):
    for name, layer in model.named_children():
        if name == "avgpool":
            return x
        x = layer(x)
    raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "time"), [("c2d_r50", "mean"), ("i3d_r50", "mean"), ("i3d_r50", "centre"), ("slow_r50", "mean")]
)
def test_a_still_clip_gives_the_image_networks_features(name, time):
    image = image_network()
    model = create_model(name).eval()
    left = inflate(image.state_dict(), model, time=time)
    assert left == ["blocks.5.proj.weight", "blocks.5.proj.bias"] or left == [
        "blocks.6.proj.weight",
        "blocks.6.proj.bias",
    ]
    x = torch.randn(1, 3, 64, 64)
    frames = 64  # so that the middle one's temporal receptive field stays inside
    with torch.no_grad():
        expected = image_features(image, x)[0]
        y = x[:, :, None].expand(-1, -1, frames, -1, -1)
        for block in model.blocks[:-1]:
            y = block(y)
    largest = expected.abs().max()
    torch.testing.assert_close(y[0, :, y.shape[2] // 2] / largest, expected / largest, atol=1e-4, rtol=0)


def test_octave_and_dense_get_the_same_weights():
    image = image_network(num_classes=7)
    dense, octave = (create_model("c2d_r50", alpha=alpha, num_classes=7) for alpha in (0.0, 0.25))
    assert inflate(image.state_dict(), dense) == inflate(image.state_dict(), octave) == []
    for name, value in dense.state_dict().items():
        assert torch.equal(octave.state_dict()[name], value)
    assert torch.equal(dense.state_dict()["blocks.6.proj.weight"], image.fc.weight)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"features.0.weight": torch.zeros(1)}, "features.0.weight of the image network has no place"),
        (
            {"layer1.7.conv1.weight": torch.zeros(1)},
            "layer1.7.conv1.weight of the image network has no place",
        ),
        ({"conv1.weight": torch.zeros(64, 4, 7, 7)}, r"conv1.weight has shape \(64, 4, 7, 7\)"),
    ],
)
def test_refuses(state, message):
    with pytest.raises(ValueError, match=message):
        inflate(state, create_model("c2d_r50"))
    with pytest.raises(ValueError, match="time is 'max'"):
        inflate({}, create_model("i3d_tiny"), time="max")
