"""Views cut out of frames, against plain indexing of whole arrays, and on their way between processes."""

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import move_data_to_device
from torch.utils.data import DataLoader

from octvideo.data.dataset import collate_eval
from octvideo.data.transforms import EvalTransform
from octvideo.data.views import Views

MEAN, STD = (0.1, 0.5, 0.9), (0.5, 0.25, 0.125)


def some_views(height: int = 32, width: int = 50, frames: int = 7) -> Views:
    pixels = torch.randint(256, (frames, height, width, 3), dtype=torch.uint8)
    clips = np.array([[0, 2, 4], [3, 3, 6]])
    return EvalTransform(32, 24, 3, MEAN, STD).views(pixels, clips)


@pytest.mark.parametrize(("size", "corners"), [((32, 50), (0, 13, 26)), ((50, 32), (0, 13, 26))])
def test_views_are_the_crops_of_the_clips(size, corners) -> None:
    views = some_views(*size)
    assert views.num_views == 6
    frames = views.frames.numpy().astype(np.float64)
    expected = []
    for clip in ([0, 2, 4], [3, 3, 6]):
        for corner in corners:  # along the long side; 4 of the short one are left on either side
            top, left = (4, corner) if size[0] < size[1] else (corner, 4)
            box = frames[clip, top : top + 24, left : left + 24]
            expected.append((box / 255 - MEAN) / STD)
    expected = np.stack(expected).transpose(0, 4, 1, 2, 3)
    np.testing.assert_allclose(views.cut().numpy(), expected, atol=1e-5)
    for size, sizes in ((1, [1] * 6), (4, [4, 2]), (6, [6]), (100, [6])):
        done = 0
        for batch, length in zip(views.batches(size), sizes, strict=True):
            assert batch.dtype == torch.float32
            assert batch.is_contiguous(memory_format=torch.channels_last_3d)
            np.testing.assert_allclose(batch.numpy(), expected[done : done + length], atol=1e-5)
            done += length


class Videos(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict:
        torch.manual_seed(index)
        return {"views": some_views(32, 50 + index), "label": index, "video": index}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_videos_of_several_sizes_are_a_batch(num_workers: int) -> None:
    (batch,) = DataLoader(Videos(), batch_size=3, collate_fn=collate_eval, num_workers=num_workers)
    assert batch["label"].tolist() == batch["video"].tolist() == [0, 1, 2]
    moved = move_data_to_device(batch, torch.device("cpu"))["views"]
    for index, views in enumerate(moved):
        assert isinstance(views, Views)
        assert views.frames.shape == (7, 32, 50 + index, 3)
        assert torch.equal(views.cut(), Videos()[index]["views"].cut())


def test_trainers_move_the_frames_and_nothing_else() -> None:
    moved = move_data_to_device([some_views()], torch.device("meta"))[0]
    assert moved.frames.is_meta
    assert [(batch.is_meta, len(batch)) for batch in moved.batches(4)] == [(True, 4), (True, 2)]
