"""octvideo.predict and features of videos, against the command, the network's layers and plain sums."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import octvideo
from octvideo.classifier import load_classifier
from octvideo.cli import main
from octvideo.data import VideoDecodeError
from octvideo.data.clip_transform import ClipTransform
from octvideo.errors import InputError
from octvideo.inference import features, fit_probe, read_features
from octvideo.inference.videos import data_of
from tests.cli_videos import shrink, write_dataset

ON = {"device": "cpu", "num_workers": 0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, make_video):
    """A run folder of a short octave training, and its videos."""
    folder = tmp_path_factory.mktemp("inference")
    write_dataset(folder / "videos", make_video)
    make_video(folder / "long.mp4", num_frames=60, size=(48, 64), fps=3)
    options = [*shrink(folder / "videos", folder / "run"), "--model.name=i3d_tiny", "--model.alpha=0.25"]
    assert main(["fit", *options, "--data.num_frames=4", "--data.frame_stride=2"]) == 0
    return folder


@pytest.fixture(scope="module")
def checkpoint(trained):
    return trained / "run" / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize("name", ["videos/video_0.mp4", "long.mp4"])
def test_predictions_are_the_commands(trained, checkpoint, tmp_path, name: str) -> None:
    found = octvideo.predict(trained / name, checkpoint, **ON)
    quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--data.num_workers=0"]
    run = [f"--trainer.default_root_dir={tmp_path}", *quiet]
    assert main(["predict", str(checkpoint), str(trained / name), *run]) == 0
    (expected,) = json.loads(next(tmp_path.rglob("predict.json")).read_text())
    assert found == pytest.approx(expected["probabilities"], abs=1e-6)
    assert list(found) == sorted(found, key=lambda key: -found[key])
    assert sum(found.values()) == pytest.approx(1)


def test_several_videos_and_a_classifier(trained, checkpoint, tmp_path) -> None:
    model = load_classifier(checkpoint)
    found = octvideo.predict(
        [trained / "videos" / "video_1.mp4", trained / "videos" / "video_0.mp4"], model, **ON
    )
    assert [path[-11:] for path in found] == ["video_1.mp4", "video_0.mp4"]
    alone = octvideo.predict(str(trained / "videos" / "video_0.mp4"), model, **ON)
    assert found[str(trained / "videos" / "video_0.mp4")] == pytest.approx(alone)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoDecodeError, match=r"bad\.mp4"):
        octvideo.predict(tmp_path / "bad.mp4", model, **ON)


def views_of(model, path, **settings) -> torch.Tensor:
    (batch,) = data_of(model, str(path), num_workers=0, **settings).predict_dataloader()
    return batch["views"][0].cut()


def test_features_are_what_the_classifier_is_given(trained, checkpoint) -> None:
    model = load_classifier(checkpoint)
    found = features(trained / "videos" / "all.csv", model, **ON)
    assert (found.layer, found.labels.tolist()) == ("blocks.5.proj", [0, 1, 0, 1])
    assert found.views.shape == (4, 2, model.network.get_submodule("blocks.5.proj").in_features)
    # Logits of one position are the classifying layer of these features.
    head = model.network.get_submodule("blocks.5.proj")
    with torch.no_grad():
        logits = model(views_of(model, trained / "videos" / "video_2.mp4"))
        np.testing.assert_allclose(head(torch.from_numpy(found.views[2])), logits, atol=1e-5)
    np.testing.assert_allclose(found.videos, found.views.mean(axis=1))


def test_any_layer_of_an_octave_network(trained, checkpoint) -> None:
    model = load_classifier(checkpoint)
    path = "blocks.2.res_blocks.0.branch2.conv_a"
    found = features(trained / "videos" / "video_0.mp4", model, layer=path, num_clips=1, **ON)
    seen = []  # copies, since what follows may work in place
    watched = model.network.get_submodule(path)
    hook = watched.register_forward_hook(lambda module, x, y: seen.append([part.clone() for part in y]))
    with hook, torch.no_grad():
        model(views_of(model, trained / "videos" / "video_0.mp4", num_clips=1))
    high, low = seen[0]
    expected = torch.cat([high.mean((2, 3, 4)), low.mean((2, 3, 4))], dim=1)
    np.testing.assert_allclose(found.views[0], expected, atol=1e-5)
    for layer, line in (
        ("blocks.9", "allowed is a layer of the network; it has blocks"),
        ("blocks.2", "octave networks run"),
    ):
        with pytest.raises(InputError, match=f"layer is '{layer}'.*{line}"):
            features(trained / "videos" / "video_0.mp4", model, layer=layer, **ON)


def test_the_commands(trained, checkpoint, tmp_path, capsys) -> None:
    out = tmp_path / "features.npz"
    words = [str(checkpoint), str(trained / "videos" / "all.csv"), "--out", str(out), "--num_workers", "0"]
    assert main(["features", *words, "--device", "cpu"]) == 0
    assert "4 videos, 2 views each" in capsys.readouterr().out
    stored = np.load(out)
    assert set(stored) == {"features", "views", "labels", "paths", "layer"}
    expected = features(trained / "videos" / "all.csv", checkpoint, **ON)
    np.testing.assert_allclose(stored["features"], expected.videos)
    assert read_features(out).paths == expected.paths
    assert main(["probe", str(out), str(out)]) == 0
    assert "4 videos to learn from, 4 to score: top-1 " in capsys.readouterr().out
    (tmp_path / "other.npz").write_bytes(b"PK")
    assert main(["probe", str(out), str(tmp_path / "other.npz")]) == 2
    assert "other.npz: no features of octvideo" in capsys.readouterr().err


def test_a_probe_is_at_its_minimum() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)) * [1, 10, 0.1, 1, 0] + 3, rng.integers(0, 3, 60)
    probe = fit_probe(x, y, weight_decay=0.01)
    std = np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    # The gradient of the mean cross-entropy and half the decay, in standardised features, written down.
    errors = probe.probabilities(x) - np.eye(3)[y]
    np.testing.assert_allclose(
        errors.T @ ((x - x.mean(axis=0)) / std) / 60 + 0.01 * probe.weight * std, 0, atol=1e-5
    )
    np.testing.assert_allclose(errors.mean(axis=0), 0, atol=1e-6)
    with pytest.raises(InputError, match="labels are allowed of two classes or more"):
        fit_probe(x, np.full(60, -1))


def test_a_loader_of_ones_own_sees_the_cards_pixels(trained, checkpoint) -> None:
    from octvideo.data import open_video

    model = load_classifier(checkpoint)
    transform = ClipTransform(model.card)
    path = trained / "videos" / "video_3.mp4"
    with open_video(path) as reader:
        clip = transform(reader.frames_at(transform.indices(reader.pts_seconds)))
    (batch,) = data_of(model, str(path), num_workers=0, num_clips=1, num_crops=1).predict_dataloader()
    torch.testing.assert_close(clip, batch["views"][0].cut()[0], atol=1e-5, rtol=0)
    torch.manual_seed(3)
    random = ClipTransform(model.card, train=True)
    assert len(random.indices(np.arange(40) / 15)) == model.card.num_frames
    frames = torch.randint(256, (4, 48, 64, 3), dtype=torch.uint8)
    first, second = random(frames), random(frames)
    assert first.shape == (3, 4, 32, 32)
    assert not torch.equal(first, second)


def test_networks_of_ones_own(trained) -> None:
    from tests.test_own_parts import Small

    model = octvideo.VideoClassifier(network=Small(num_classes=2), num_classes=2)
    found = octvideo.predict(
        trained / "videos" / "video_0.mp4", model, num_frames=4, test_short_side=36, test_crop=32, **ON
    )
    assert set(found) == {"class 0", "class 1"}
    assert isinstance(model.network.get_submodule(model.head), nn.Linear)
