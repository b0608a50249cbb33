"""A pytorchvideo checkpoint scored here, and by a few lines of pytorchvideo, PyAV and torch."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from pytorchvideo.models import hub

from octvideo.classifier import VideoClassifier
from octvideo.data import KineticsDataModule
from octvideo.models import create_model, get_spec
from tests.models.networks import randomise_norms

pytestmark = pytest.mark.slow

LOGIT_STD = 3.0
NUM_FRAMES = 120  # of the video, at 30 a second and 256 x 340: nothing is scaled


@pytest.fixture(scope="module")
def video(tmp_path_factory, make_video) -> Path:
    file = tmp_path_factory.mktemp("published") / "video.mp4"
    return make_video(file, num_frames=NUM_FRAMES, size=(256, 340))


def clips_of(name: str, video: Path) -> torch.Tensor:
    """Two uniform clips, centre crop 256, `float (2, 3, T, 256, 256)`: PySlowFast's protocol, written out."""
    count, stride = {"x3d_m": (16, 5), "slowfast_r50": (32, 2)}.get(name, (8, 8))
    with av.open(str(video)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert frames.shape == (NUM_FRAMES, 256, 340, 3)
    clips = []
    for clip_index in range(2):
        start = (NUM_FRAMES - count * stride) * clip_index / 2
        index = torch.linspace(start, start + count * stride - 1, count).long()
        clip = torch.from_numpy(frames)[index].permute(3, 0, 1, 2)[:, :, :, 42:298].float() / 255
        clips.append((clip - 0.45) / 0.225)
    return torch.stack(clips)


def straight_line(name: str, weights: Path, clips: torch.Tensor) -> torch.Tensor:
    """Logits of the clips at every position, `(2, 400, 1, 2, 2)`, by pytorchvideo's network."""
    network = getattr(hub, name)(head_activation=None, head_output_with_global_average=False).eval()
    network.load_state_dict(torch.load(weights, weights_only=True)["model_state"])
    logits = []
    for clip in clips.split(1):
        slow = torch.linspace(0, clip.shape[2] - 1, clip.shape[2] // 4).long()
        with torch.no_grad():
            logits.append(network([clip[:, :, slow], clip] if name == "slowfast_r50" else clip))
    return torch.cat(logits)


def random_weights(name: str, clips: torch.Tensor) -> dict[str, torch.Tensor]:
    """Under pytorchvideo's names; statistics of norms, and so logits, are of such clips, as a training's are.

    With other statistics logits are in the thousands, of which 1e-4 is less than float32's last digit.
    """
    torch.manual_seed(0)
    network = create_model(name)
    randomise_norms(network)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(clips)
        scale = LOGIT_STD / network.eval()(clips).std()
        for key, value in network.state_dict().items():
            if key.startswith(f"{get_spec(name).head}."):
                value.mul_(scale)
    return network.state_dict()


@pytest.mark.parametrize(
    "name",
    [
        *("i3d_r50", "slowfast_r50", "x3d_m"),
        # Of the blocks of the first two.
        *(pytest.param(name, marks=pytest.mark.soak) for name in ("slow_r50", "c2d_r50")),
    ],
)
def test_logits_of_a_pytorchvideo_checkpoint(name: str, video: Path, tmp_path) -> None:
    clips = clips_of(name, video)
    torch.save({"model_state": random_weights(name, clips)}, tmp_path / "weights.pyth")
    expected = straight_line(name, tmp_path / "weights.pyth", clips)
    # Outputs as a trained network's, which a wrong input would change.
    assert 0.5 < expected[0].std() < 20
    assert (expected[0] - expected[1]).abs().max() > 0.1

    (tmp_path / "list.csv").write_text(f"{video} 0\n")
    recipe = {**get_spec(name).card.recipe, "num_clips": 2, "num_crops": 1}
    data = KineticsDataModule(
        test_csv=str(tmp_path / "list.csv"),
        allow_outside_root=True,
        decoder="pyav",
        num_workers=0,
        **recipe,
    )
    classifier = VideoClassifier(name, checkpoint=str(tmp_path / "weights.pyth")).eval()
    (batch,) = data.test_dataloader()
    with torch.no_grad():
        (views,) = batch["views"]
        logits = classifier(views.cut())
        probabilities = classifier.view_probabilities(views)
    # PySlowFast's fully convolutional inference: the softmax, then the mean over positions; and over views.
    of_clips = expected.softmax(dim=1).mean((2, 3, 4))
    # Of a logit and of their normaliser, 1e-4 each: float32's rounding by another engine than pytorchvideo's.
    torch.testing.assert_close(logits.log_softmax(dim=1), of_clips.log(), rtol=0, atol=2e-4)
    torch.testing.assert_close(probabilities, of_clips.mean(dim=0).double(), rtol=1e-4, atol=1e-6)
