"""The models against pytorchvideo's own."""

import pytest
import torch
from pytorchvideo.models import hub

from octvideo.models import MODELS, count_macs, count_parameters, create_model
from octvideo.models.pathways import slow_frames
from tests.models.networks import randomise_norms

HUB = [name for name in MODELS if hasattr(hub, name)]
# Clips on which pytorchvideo's own networks run: their heads' pools are tied to the crop.
SIZES = {"x3d_s": (13, 160), "csn_r101": (32, 224), "r2plus1d_r50": (16, 224), "slowfast_r50": (32, 224)}


def shapes(model):
    return {name: value.shape for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", ["i3d_r50", "slowfast_r50"])
@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_state_dict_is_pytorchvideos(name, alpha):
    theirs = getattr(hub, name)(model_num_class=7)
    assert shapes(create_model(name, alpha=alpha, num_classes=7)) == shapes(theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", HUB)
def test_logits_are_pytorchvideos(name):
    torch.manual_seed(0)
    theirs = getattr(hub, name)().eval()
    randomise_norms(theirs)
    ours = create_model(name).eval()
    assert shapes(ours) == shapes(theirs)
    ours.load_state_dict(theirs.state_dict())
    frames, crop = SIZES.get(name, (MODELS[name].num_frames, MODELS[name].crop))
    x = torch.randn(1, 3, frames, crop, crop)
    # SlowFast's packing, as in pytorchvideo's tutorial: every fourth frame of 32, evenly to the last.
    slow = [0, 4, 8, 13, 17, 22, 26, 31]
    with torch.no_grad():
        theirs_in = [x[:, :, slow], x.clone()] if name.startswith("slowfast") else x
        torch.testing.assert_close(ours(x), theirs(theirs_in), rtol=1e-4, atol=1e-4)


def test_a_larger_crop_than_in_training_gives_pytorchvideos_logits():
    torch.manual_seed(0)
    theirs = hub.c2d_r50().eval()
    ours = create_model("c2d_r50").eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 8, 256, 256)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["i3d_tiny", "i3d_r50", "slowfast_r50"])
@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_takes_any_crop(name, alpha):
    model = create_model(name, alpha=alpha, num_classes=5).to("meta")
    for side in (33, 64, 112, 256, 320):
        x = torch.empty(2, 3, MODELS[name].num_frames, side, side, device="meta")
        assert model(x).shape == (2, 5)


def test_slowfast_leaves_its_input_alone():
    x = torch.randn(1, 3, 8, 2, 2)
    assert slow_frames(x, 4)[0, 0, :, 0, 0].tolist() == [x[0, 0, 0, 0, 0], x[0, 0, 7, 0, 0]]
    with pytest.raises(ValueError, match="the clip has 6 frames; SlowFast needs a multiple of 4"):
        slow_frames(x[:, :, :6], 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet"}, "model is 'resnet'; it must be one of i3d_tiny"),
        ({"name": "i3d_tiny", "num_classes": 0}, "num_classes is 0"),
        ({"name": "i3d_tiny", "alpha": -0.5}, "alpha is -0.5; it must be between 0 and 1"),
        ({"name": "i3d_tiny", "alpha": 0.01}, "model i3d_tiny: .*both need at least one"),
    ],
)
def test_create_model_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_model(**arguments)


def test_macs_and_parameters_by_hand():
    net = torch.nn.Sequential(
        torch.nn.Conv3d(3, 8, (1, 3, 3), padding=(0, 1, 1)),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 2 * 16, 5),
    )
    assert count_macs(net, (2, 3, 2, 4, 4)) == 2 * (8 * 3 * 9 * 2 * 16 + 8 * 2 * 16 * 5)
    assert count_parameters(net) == 8 * 3 * 9 + 8 + 8 * 2 * 16 * 5 + 5


def test_i3d_costs_what_pytorchvideo_says():
    assert count_macs(create_model("i3d_r50"), MODELS["i3d_r50"].input_shape) == 28_407_660_544
