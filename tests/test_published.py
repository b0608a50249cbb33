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

NUM_FRAMES = 120  # of the video, at 30 a second and 256 x 340: nothing is scaled


@pytest.fixture(scope="module")
def video(tmp_path_factory, make_video) -> Path:
    file = tmp_path_factory.mktemp("published") / "video.mp4"
    return make_video(file, num_frames=NUM_FRAMES, size=(256, 340))


def straight_line(name: str, weights: Path, video: Path) -> torch.Tensor:
    """Logits `(2, 400)` of two uniform clips, centre crop 256: PySlowFast's protocol, written out."""
    network = getattr(hub, name)(head_activation=None).eval()
    network.load_state_dict(torch.load(weights, weights_only=True)["model_state"])
    count, stride = {"x3d_m": (16, 5), "slowfast_r50": (32, 2)}.get(name, (8, 8))
    with av.open(str(video)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert frames.shape == (NUM_FRAMES, 256, 340, 3)
    logits = []
    for clip_index in range(2):
        start = (NUM_FRAMES - count * stride) * clip_index / 2
        index = torch.linspace(start, start + count * stride - 1, count).long()
        clip = torch.from_numpy(frames)[index].permute(3, 0, 1, 2)[None, :, :, :, 42:298].float() / 255
        clip = (clip - 0.45) / 0.225
        if name == "slowfast_r50":
            slow = torch.linspace(0, count - 1, count // 4).long()
            clip = [clip[:, :, slow], clip]
        with torch.no_grad():
            logits.append(network(clip))
    return torch.cat(logits)


def random_weights(name: str) -> dict[str, torch.Tensor]:
    """Under pytorchvideo's names; norms keep activations in bounds, as a training's do."""
    torch.manual_seed(0)
    network = create_model(name)
    randomise_norms(network)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(2, 3, get_spec(name).num_frames, 64, 64))
    return network.state_dict()


@pytest.mark.parametrize("name", ["i3d_r50", "slow_r50", "slowfast_r50", "x3d_m", "c2d_r50"])
def test_logits_of_a_pytorchvideo_checkpoint(name: str, video: Path, tmp_path) -> None:
    torch.save({"model_state": random_weights(name)}, tmp_path / "weights.pyth")
    expected = straight_line(name, tmp_path / "weights.pyth", video)
    assert expected[0].std() > 1e-3  # an output that a wrong input would change
    assert (expected[0] - expected[1]).abs().max() > 1e-3

    (tmp_path / "list.csv").write_text(f"{video} 0\n")
    recipe = {**get_spec(name).recipe, "num_clips": 2, "num_crops": 1}
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
        logits = classifier(data.normalise(batch["clip"][0]))
        probabilities = classifier.view_probabilities(data.normalise(batch["clip"][0]))
    largest = float(expected.abs().max())
    torch.testing.assert_close(
        logits, expected, rtol=0, atol=1e-4 * max(1.0, largest), msg=lambda m: f"{largest=}: {m}"
    )
    torch.testing.assert_close(
        probabilities, expected.softmax(dim=1).mean(dim=0).double(), rtol=1e-4, atol=1e-6
    )
