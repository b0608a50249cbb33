"""Augmentation of batches: frames of a clip alike, clips apart, labels that add up."""

import pytest
import torch

from octvideo.data.augment import Augmentation, batch_seed


def still_clips(num_clips: int = 4, frames: int = 3, side: int = 32) -> torch.Tensor:
    """`uint8 (B, 3, T, H, W)`, all frames of a clip alike."""
    images = torch.randint(0, 256, (num_clips, 3, 1, side, side), generator=torch.Generator().manual_seed(0))
    return images.to(torch.uint8).expand(-1, -1, frames, -1, -1).contiguous()


@pytest.mark.parametrize("kind", ["rand_augment", "erasing", "mixup", "cutmix"])
def test_all_frames_of_a_clip_get_the_same(kind: str) -> None:
    augment = Augmentation(**{kind: 1})
    clip = still_clips()
    with batch_seed(1, 0, [3, 1]):
        if kind == "rand_augment":
            out = augment.pixels(clip)
        elif kind == "erasing":
            out = augment.erase(clip.float())
        else:
            out, _ = augment.mix(clip.float(), torch.tensor([0, 1, 2, 0]), 3)
    assert out.shape == clip.shape
    assert torch.equal(out, out[:, :, :1].expand_as(out))
    assert not torch.equal(out.to(clip.dtype), clip)


def test_clips_of_a_batch_get_different_things() -> None:
    clip = still_clips(1).expand(6, -1, -1, -1, -1)
    for change in (
        lambda augment: augment.pixels(clip),
        lambda augment: augment.erase(clip.float()),
    ):
        with batch_seed(0, 0, [0]):
            out = change(Augmentation(rand_augment=2, erasing=1.0))
        assert any(not torch.equal(out[0], other) for other in out[1:])


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_are_the_shares_of_the_pixels(kind: str) -> None:
    # clip i is i everywhere, so that a mean tells the shares of the two that were mixed
    numbers = torch.arange(4.0)
    clip = numbers.view(4, 1, 1, 1, 1).expand(4, 3, 2, 32, 32).contiguous()
    with batch_seed(0, 0, [0]):
        out, label = Augmentation(**{kind: 1.0}).mix(clip, torch.tensor([0, 1, 2, 3]), 4)
    torch.testing.assert_close(label.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(out.mean(dim=(1, 2, 3, 4)), label @ numbers, atol=1e-4, rtol=0)
    assert 0 < float(label[0, 0]) < 1


def test_a_batch_is_augmented_alike_whatever_came_before() -> None:
    augment, clip = Augmentation(rand_augment=2), still_clips()
    outs = []
    for skipped, epoch in ((0, 2), (5, 2), (0, 3)):
        torch.rand(skipped)
        state = torch.get_rng_state()
        with batch_seed(7, epoch, [1, 2]):
            outs.append(augment.pixels(clip))
        assert torch.equal(torch.get_rng_state(), state)  # others' numbers are left alone
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rand_augment": -1}, "augment.rand_augment is -1"),
        ({"magnitude": 31}, "augment.magnitude is 31, allowed is 0 to 30"),
        ({"erasing": 1.5}, "augment.erasing is 1.5"),
        ({"mixup": -0.1}, "augment.mixup is -0.1"),
    ],
)
def test_out_of_range(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Augmentation(**arguments)
