"""Transforms against scaling the whole frame with Pillow and cutting by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from octvideo.data.sampling import scaled_size
from octvideo.data.transforms import EvalTransform, TrainTransform


def frames(num_frames=3, height=120, width=160):
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x * 255 / width, y * 255 / height, (x + y) % 64 * 2], axis=-1)
    return torch.from_numpy(
        np.stack([picture + 10 * number for number in range(num_frames)]).clip(0, 255)
    ).to(torch.uint8)


def scaled_by_pillow(frame, short_side):
    high, wide = scaled_size(frame.shape[0], frame.shape[1], short_side)
    return np.asarray(Image.fromarray(frame.numpy()).resize((wide, high), Image.Resampling.BILINEAR))


def test_training_crop_is_the_crop_of_the_scaled_frame():
    source = frames()
    transform = TrainTransform(short_side=(64, 96), crop=48, flip=0.5)
    flips = 0
    for seed in range(20):
        clip = transform(source, np.random.default_rng(seed))
        assert clip.shape == (3, 3, 48, 48)
        assert clip.dtype == torch.uint8
        # The same draws, in the documented order: short side, top, left, flip.
        rng = np.random.default_rng(seed)
        short_side = int(rng.integers(64, 97))
        high, wide = scaled_size(120, 160, short_side)
        top, left = int(rng.integers(0, high - 47)), int(rng.integers(0, wide - 47))
        flipped = rng.random() < 0.5
        flips += flipped
        for number in range(3):
            expected = scaled_by_pillow(source[number], short_side)[top : top + 48, left : left + 48]
            expected = expected[:, ::-1] if flipped else expected
            got = clip[:, number].permute(1, 2, 0).numpy().astype(int)
            # The ramps (red, green) move by 2.1 levels a pixel; the box is rounded by half a pixel at most.
            assert np.abs(got - expected)[..., :2].max() <= 4
    assert 0 < flips < 20


def test_flip_probability_is_kept():
    source = frames(1)
    ramps = [
        TrainTransform((64, 64), 64, flip)(source, np.random.default_rng(seed))[0, 0]
        for flip in (0.0, 1.0)
        for seed in range(5)
    ]
    rising = [bool(ramp[:, -1].float().mean() > ramp[:, 0].float().mean()) for ramp in ramps]
    assert rising == [True] * 5 + [False] * 5


def test_evaluation_crops():
    source = frames(2)
    transform = EvalTransform(short_side=60, crop=60, num_crops=3)
    scaled = transform.scale(source)
    assert scaled.shape == (2, 60, 80, 3)
    whole = scaled_by_pillow(source[1], 60)
    for crop, left in zip(transform.crops(scaled), (0, 10, 20), strict=True):
        assert crop.shape == (3, 2, 60, 60)
        got = crop[:, 1].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(got - whole[:, left : left + 60]).max() <= 1


def test_no_scaling_leaves_the_pixels():
    source = frames()
    (crop,) = EvalTransform(short_side=120, crop=120).crops(EvalTransform(120, 120).scale(source))
    assert torch.equal(crop.permute(1, 2, 3, 0), source[:, :, 20:140])


@pytest.mark.parametrize("size", [(17, 400), (400, 17), (1, 1), (33, 33)])
def test_odd_and_tiny_sizes(size):
    source = torch.zeros((2, *size, 3), dtype=torch.uint8)
    for seed in range(5):
        assert TrainTransform((64, 80), 64)(source, np.random.default_rng(seed)).shape == (3, 2, 64, 64)
    evaluation = EvalTransform(64, 64, 3)
    assert [tuple(crop.shape) for crop in evaluation.crops(evaluation.scale(source))] == [(3, 2, 64, 64)] * 3


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: TrainTransform((256, 320), 257), "short_side is \\(256, 320\\) with crop 257"),
        (lambda: TrainTransform((320, 256), 224), "least <= most"),
        (lambda: TrainTransform(flip=1.5), "flip is 1.5, allowed is a probability"),
        (lambda: EvalTransform(256, 257), "test_crop is 257, allowed is 1 to test_short_side, 256"),
        (lambda: EvalTransform(num_crops=0), "num_crops is 0, allowed is 1 or more"),
    ],
)
def test_bad_arguments(make, text):
    with pytest.raises(ValueError, match=text):
        make()
