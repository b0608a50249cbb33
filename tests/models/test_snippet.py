"""The preprocessing that is written for those without octvideo: the same frames, pixels and scores as here."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from octvideo.card import Card
from octvideo.data import KineticsDataModule
from octvideo.data.sampling import constant_rate, crop_boxes, scaled_size
from octvideo.errors import InputError
from octvideo.models import standalone
from octvideo.models.snippet import write_snippet

CARD = Card(
    name="i3d_tiny", num_classes=3, num_frames=4, frame_stride=3, test_short_side=40, test_crop=32, num_clips=3,
    num_crops=2, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), class_names=("a", "b", "c"),
)  # fmt: skip


def views_here(path: Path, card: Card) -> np.ndarray:
    """`float32 (V, 3, T, H, W)` as `octvideo predict` scores them."""
    data = KineticsDataModule(predict_paths=str(path), num_workers=0, decoder="pyav", **card.recipe)
    (batch,) = data.predict_dataloader()
    return batch["views"][0].cut().numpy()


@pytest.mark.parametrize("frame_times", ["even", "steps", "segments"])
@pytest.mark.parametrize(
    "video",
    [
        {"num_frames": 50, "fps": 25, "size": (48, 64)},
        {"num_frames": 31, "fps": 30, "size": (90, 50)},
        {"num_frames": 5, "fps": 30, "size": (40, 40)},
        {"num_frames": 40, "size": (48, 64), "times": [33 * n + (n % 3) * 9 for n in range(40)]},
    ],
    ids=["plain", "upright", "short", "variable"],
)
def test_views_are_octvideos(tmp_path, make_video, monkeypatch, video: dict, frame_times: str) -> None:
    path = make_video(tmp_path / "video.mkv", **video)
    card = replace(CARD, frame_times=frame_times)
    monkeypatch.setattr(standalone, "CARD", card.to_dict())
    expected, found = views_here(path, card), standalone.views(str(path))
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    # Levels of 255: torch rounds its weights to 16 bits.
    levels = np.abs(found - expected) * 255 * np.array(card.std).reshape(1, 3, 1, 1, 1)
    assert levels.max() < 1.01
    assert levels.mean() < 0.02


def test_real_files(clips, monkeypatch) -> None:
    card = replace(CARD, num_frames=8, frame_stride=8, test_short_side=128, test_crop=112)
    monkeypatch.setattr(standalone, "CARD", card.to_dict())
    for name in ("flipping_a_pancake.mkv", "arm_wrestling.mp4", "video_90.mov"):
        if not (clips / name).is_file():
            continue
        expected, found = views_here(clips / name, card), standalone.views(str(clips / name))
        levels = np.abs(found - expected) * 255 * np.array(card.std).reshape(1, 3, 1, 1, 1)
        assert (levels.max() < 1.01, levels.mean() < 0.05) == (True, True), name


def test_its_arithmetic_is_octvideos(monkeypatch) -> None:
    monkeypatch.setattr(standalone, "CARD", CARD.to_dict())
    for rate in (15, 23.976, 25, 29.97, 30, 59.94):
        times = np.round(np.arange(40) / rate, 3)
        assert standalone.constant_rate(times) == constant_rate(times)
    for height, width in ((48, 64), (64, 48), (40, 40)):
        high, wide = scaled_size(height, width, 40)
        assert standalone.scaled(np.zeros((height, width, 3), np.uint8)).shape == (high, wide, 3)
        assert standalone.corners(high, wide) == crop_boxes(high, wide, 32, 2)


def test_scores() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 3)) * 3
    np.testing.assert_allclose(standalone.scores(logits), torch.from_numpy(logits).softmax(1).mean(0))


def test_the_file_that_is_written(tmp_path) -> None:
    file = tmp_path / "clips.py"
    write_snippet(file, CARD)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import clips; print(clips.CARD['class_names']); "
    )
    code += (
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'torchvision', 'octvideo'}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert run.stdout.splitlines() == ["['a', 'b', 'c']", "[]"]
    with pytest.raises(InputError, match="is there already"):
        write_snippet(file, CARD)
    with pytest.raises(InputError, match=r"must end in \.py"):
        write_snippet(tmp_path / "clips.txt", CARD)
