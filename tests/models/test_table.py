"""The models against pytorchvideo's own."""

import pytest
import torch
from pytorchvideo.models import hub
from torchvision.models import video

from octvideo.models import MODELS, count_macs, count_parameters, create_model, kinetics400_names, model_card
from octvideo.models.checkpoints import CheckpointError
from octvideo.models.optimize import optimize
from octvideo.models.pathways import slow_frames
from tests.models.networks import randomise_norms

HUB = [name for name in MODELS if hasattr(hub, name)]
TORCHVISION = {"r3d_18": "R3D_18", "mc3_18": "MC3_18", "r2plus1d_18": "R2Plus1D_18", "s3d": "S3D"}
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
    # Some of theirs end with a softmax.
    theirs = getattr(hub, name)(head_activation=None).eval()
    randomise_norms(theirs)
    ours = create_model(name).eval()
    assert shapes(ours) == shapes(theirs)
    ours.load_state_dict(theirs.state_dict())
    frames, crop = SIZES.get(name, MODELS[name].input_shape[2:4])
    x = torch.randn(1, 3, frames, crop, crop)
    # SlowFast's packing, as in pytorchvideo's tutorial: every fourth frame of 32, evenly to the last.
    slow = [0, 4, 8, 13, 17, 22, 26, 31]
    with torch.no_grad():
        theirs_in = [x[:, :, slow], x.clone()] if name.startswith("slowfast") else x
        expected = theirs(theirs_in)
        # Random weights make the logits of the deepest networks thousands.
        largest = expected.abs().max()
        torch.testing.assert_close(ours(x) / largest, expected / largest, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    ["mc3_18", *(pytest.param(name, marks=pytest.mark.slow) for name in ("r3d_18", "r2plus1d_18", "s3d"))],
)
def test_torchvisions_weights_give_torchvisions_logits(name, tmp_path):
    torch.manual_seed(0)
    theirs = getattr(video, name)(num_classes=7).eval()
    randomise_norms(theirs)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")  # as torchvision's files are
    ours = create_model(name, num_classes=7, checkpoint=tmp_path / "weights.pth").eval()
    octave = create_model(name, num_classes=7, alpha=0.1, checkpoint=tmp_path / "weights.pth").eval()
    assert shapes(octave) == shapes(theirs)
    side = 224 if name == "s3d" else 64  # the head of torchvision's s3d is tied to its crop
    x = torch.randn(1, 3, 16, side, side)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
        layout = torch.channels_last_3d
        torch.testing.assert_close(
            ours.to(memory_format=layout)(x.contiguous(memory_format=layout)), theirs(x), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_recipe(name):
    weights = getattr(video, f"{TORCHVISION[name]}_Weights").KINETICS400_V1
    preset, spec, card = weights.transforms(), MODELS[name], MODELS[name].card
    assert [card.test_crop] * 2 == preset.crop_size
    assert card.test_short_side == min(preset.resize_size)
    assert (list(card.mean), list(card.std)) == (list(preset.mean), list(preset.std))
    published = weights.meta["_metrics"]["Kinetics-400"]
    assert spec.published.top1 == pytest.approx(published["acc@1"], abs=0.006)
    assert spec.published.top5 == pytest.approx(published["acc@5"], abs=0.006)
    text = weights.meta["_docs"]
    for setting in ("frame_rate=15", f"clips_per_video={card.num_clips}", f"clip_len={card.num_frames}"):
        assert setting in text
    assert (card.fps, card.frame_stride, card.num_crops, card.frame_times) == (15, 1, 1, "steps")
    assert kinetics400_names() == weights.meta["categories"]
    # What is not its recipe is said beside its numbers.
    squashed = "squashed to {} x {} without antialias".format(*preset.resize_size)
    assert squashed in model_card(name).published.differs
    assert not model_card("i3d_r50").published.differs


def test_kinetics400_names_are_in_order():
    names = kinetics400_names()
    assert len(set(names)) == 400
    assert (names[0], names[19], names[399]) == ("abseiling", "bench pressing", "zumba")


def test_create_model_with_a_checkpoint(tmp_path):
    source = create_model("i3d_tiny", num_classes=3)
    torch.save({"model_state": source.state_dict()}, tmp_path / "weights.pyth")
    octave = create_model("i3d_tiny", alpha=0.5, num_classes=3, checkpoint=tmp_path / "weights.pyth")
    for key, value in octave.state_dict().items():
        assert torch.equal(value, source.state_dict()[key])
    with pytest.warns(UserWarning, match="the head is NEW"):
        create_model("i3d_tiny", num_classes=4, checkpoint=tmp_path / "weights.pyth")
    with pytest.raises(CheckpointError, match="does not fit"):
        create_model("slow_r50", num_classes=3, checkpoint=tmp_path / "weights.pyth")


@pytest.mark.parametrize("name", MODELS)
def test_networks_give_logits(name):
    with torch.device("meta"):
        model = create_model(name)
    assert not [module for module in model.modules() if isinstance(module, torch.nn.Softmax)]


# Clips larger than in training: 2 x 2 positions of the head; of twice as many frames, 9 x 2 x 2.
LARGER = {
    "c2d_r50": (8, 256),
    "slowfast_r50": (32, 256),
    "csn_r101": (32, 256),
    "r2plus1d_r50": (16, 256),
    "x3d_s": (13, 182),
    "x3d_m": (16, 256),
    "slow_r50": (16, 256),
}


def of_pyslowfast(logits: torch.Tensor) -> torch.Tensor:
    """What PySlowFast averages over the views: `ptv_model_builder.py`, and `ResNetBasicHead` of `head_helper.py`."""
    return torch.nn.Softmax(dim=1)(logits).mean([2, 3, 4])


@pytest.mark.parametrize(
    "name",
    [
        "c2d_r50",
        "x3d_s",
        *(pytest.param(n, marks=pytest.mark.slow) for n in LARGER if n not in "c2d_r50 x3d_s"),
    ],
)
def test_a_larger_crop_than_in_training_gives_the_mean_of_probabilities(name):
    torch.manual_seed(0)
    theirs = getattr(hub, name)(head_activation=None, head_output_with_global_average=False).eval()
    randomise_norms(theirs)
    # Logits of a trained network's size: those of random deep ones are thousands, of which a softmax shows one.
    frames, crop = LARGER[name]
    x = torch.randn(1, 3, frames, crop, crop) * torch.linspace(0, 3, crop)  # unlike from side to side
    slow = [0, 4, 8, 13, 17, 22, 26, 31]

    def their_logits() -> torch.Tensor:  # a list each time, since theirs is written into
        return theirs([x[:, :, slow], x.clone()] if name.startswith("slowfast") else x)

    with torch.no_grad():
        projection = theirs.blocks[-1].proj
        spread = their_logits().std()
        projection.weight /= spread / 3
        projection.bias /= spread / 3
        ours = create_model(name).eval()
        ours.load_state_dict(theirs.state_dict())
        logits = their_logits()
        assert logits[0, 0].numel() >= 4
        expected = of_pyslowfast(logits)
        of_mean_logits = (logits.mean((2, 3, 4)).softmax(1) - expected).abs().max()
        found = ours(x).softmax(1)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
        assert (found - expected).abs().max() < 0.1 * of_mean_logits
        # The same from a traced network that is ready for inference; in training, plain logits.
        torch.testing.assert_close(optimize(ours)(x).softmax(1), expected, rtol=1e-3, atol=1e-5)
        head = ours.blocks[-1].output_pool.train()
        torch.testing.assert_close(head(logits).flatten(1), logits.mean((2, 3, 4)))


@pytest.mark.parametrize("name", ["i3d_tiny", "i3d_r50", "slowfast_r50"])
@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_takes_any_crop(name, alpha):
    model = create_model(name, alpha=alpha, num_classes=5).to("meta")
    for side in (33, 64, 112, 256, 320):
        x = torch.empty(2, 3, MODELS[name].card.num_frames, side, side, device="meta")
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
