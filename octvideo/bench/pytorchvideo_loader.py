"""pytorchvideo's training loader, `LabeledVideoDataset`, set to the clips of ours.

`pytorchvideo.transforms` does not import with a current torchvision, so that its recipe is written out here:
frames picked from the clip, float pixels, short side scaled, crop, flip.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler

from octvideo.data.dataset import ClipSpec
from octvideo.data.sampling import scaled_size
from octvideo.data.transforms import TrainTransform


def pytorchvideo_loader(
    paths: Sequence[str],
    *,
    decoder: str,
    spec: ClipSpec,
    transform: TrainTransform,
    batch_size: int,
    num_workers: int,
) -> DataLoader:
    """A loader of float clips `(B, 3, T, crop, crop)` in 0 to 255, a random clip of each path.

    Args:
        decoder: pytorchvideo's name of it, "decord" or "pyav".
    """
    from pytorchvideo.data import LabeledVideoDataset, RandomClipSampler

    dataset = LabeledVideoDataset(
        [(path, {"label": 0}) for path in paths],
        RandomClipSampler(Fraction(spec.num_frames * spec.frame_stride) / Fraction(spec.fps)),
        video_sampler=SequentialSampler,
        transform=_Recipe(spec.num_frames, transform),
        decode_audio=False,
        decoder=decoder,
    )
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        persistent_workers=True,
        worker_init_fn=_one_thread,
    )


class _Recipe:
    """Random short side, crop and flip of the evenly picked frames, as pytorchvideo's own transforms do it."""

    def __init__(self, num_frames: int, transform: TrainTransform) -> None:
        self.num_frames = num_frames
        self.transform = transform

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        video: Tensor = sample["video"]  # float (3, n, H, W)
        picked = torch.linspace(0, video.shape[1], self.num_frames + 1)[:-1].long()
        low, high = self.transform.short_side
        crop = self.transform.crop
        short_side = int(torch.randint(low, high + 1, ()))
        size = scaled_size(video.shape[2], video.shape[3], short_side)
        scaled = torch.nn.functional.interpolate(video[:, picked], size=size, mode="bilinear")
        top, left = (int(torch.randint(0, side - crop + 1, ())) for side in size)
        clip = scaled[:, :, top : top + crop, left : left + crop]
        if float(torch.rand(())) < self.transform.flip:
            clip = clip.flip(-1)
        return {"clip": clip, "label": sample["label"]}


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
