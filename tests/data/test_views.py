"""Views cut out of frames, against plain indexing of whole arrays, and on their way between processes."""

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import move_data_to_device
from torch.utils._python_dispatch import TorchDispatchMode
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


class Launches(TorchDispatchMode):
    """Counts what a GPU would be asked to run: operations that are no views and no fresh memory."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view and func.overloadpacket is not torch.ops.aten.empty:
            self.names.append(str(func.overloadpacket))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [(32, 50), (50, 32), (24, 24)])
@pytest.mark.parametrize("at_once", [1, 4, 6, 100])
def test_the_gather_of_a_gpu_gives_the_same_bits(monkeypatch, size, at_once) -> None:
    pixels = torch.randint(256, (7, *size, 3), dtype=torch.uint8)
    views = EvalTransform(24, 24, 3, MEAN, STD).views(pixels, np.array([[0, 2, 4], [3, 3, 6]]))
    expected = [batch.clone() for batch in views.batches(at_once)]
    monkeypatch.setattr(Views, "_frame_by_frame", Views._by_one_gather)
    with Launches() as launches:
        batches = [batch.clone(memory_format=torch.preserve_format) for batch in views.batches(at_once)]
    for batch, other in zip(batches, expected, strict=True):
        assert batch.is_contiguous(memory_format=torch.channels_last_3d)
        assert torch.equal(batch, other)
    # However many views and frames there are: a gather and a sum a batch, and what is made once a video.
    assert launches.names.count("aten.index") == launches.names.count("aten.addcmul") == len(expected)
    once = [name for name in launches.names if name not in ("aten.index", "aten.addcmul", "aten.clone")]
    assert len(once) <= 25, once


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
