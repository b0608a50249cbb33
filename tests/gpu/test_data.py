"""What is done to frames and clips on the GPU, against the same on the CPU."""

import pytest
import torch

from octvideo.data import KineticsDataModule
from octvideo.data.augment import Augmentation, batch_seed
from tests.data.test_views import some_views

pytestmark = pytest.mark.gpu


def clips(num_clips: int = 4) -> torch.Tensor:
    """`uint8 (B, 3, T, H, W)` of smooth pictures, as frames are."""
    coarse = torch.rand(num_clips, 3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    clip = torch.nn.functional.interpolate(coarse, (4, 48, 48), mode="trilinear").mul(255)
    return clip.to(torch.uint8).to(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_views_are_cut_alike(device, size):
    views = some_views(50, 32)
    there = views._replace(frames=views.frames.to(device))
    for found, expected in zip(there.batches(size), views.batches(size), strict=True):
        assert found.device.type == device
        assert found.is_contiguous(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(found.cpu(), expected, atol=1e-5, rtol=1e-5)


def test_clips_are_normalised_alike(device):
    data = KineticsDataModule(mean=(0.1, 0.5, 0.9), std=(0.5, 0.25, 0.125))
    batch = {"clip": clips(), "label": torch.arange(4), "video": torch.arange(4)}
    moved = {name: value.to(device) for name, value in batch.items()}
    found = data.on_after_batch_transfer(moved, 0)["clip"]
    assert found.device.type == device
    torch.testing.assert_close(found.cpu(), data.on_after_batch_transfer(batch, 0)["clip"])


@pytest.mark.parametrize("kind", ["rand_augment", "erasing", "mixup", "cutmix"])
def test_clips_are_augmented_alike(device, kind):
    """The random numbers are the CPU's; what comes of them differs by roundings."""
    augment = Augmentation(**{kind: 2 if kind == "rand_augment" else 1})

    def augmented(clip: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for epoch in range(6):
            with batch_seed(0, epoch, [3, 1]):
                if kind == "rand_augment":
                    found.append(augment.pixels(clip).float())
                elif kind == "erasing":
                    found.append(augment.erase(clip.float()))
                else:
                    labels = torch.arange(len(clip), device=clip.device)
                    found += augment.mix(clip.float(), labels, len(clip))
        return found

    for found, expected in zip(augmented(clips().to(device)), augmented(clips()), strict=True):
        assert found.device.type == device
        difference = (found.cpu() - expected).abs()
        assert difference.mean() < 0.5  # of 255
        assert (difference > 2).float().mean() < 0.02  # a pixel at an edge of what was turned or sheared
