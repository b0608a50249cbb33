"""Frames that are scaled as they come are those that are scaled together, and few are held at their full size."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from octvideo.data.decode import _frames, cpu_failure, open_video
from octvideo.data.decode._frames import Frames
from octvideo.data.transforms import EvalTransform, TrainTransform

THREE = 3 * 64 * 96 * 3  # bytes of three frames of `make_video`

needs_torchcodec = pytest.mark.skipif(
    cpu_failure("torchcodec") is not None, reason="torchcodec does not work here"
)
INDICES = {
    "spread": range(0, 40, 3),
    "shuffled, with repeats": [31, 2, 2, 30, 9, 31, 17, 0],
    "one": [5],
    "none": [],
}


@pytest.mark.parametrize("indices", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("decoder", ["pyav", "decord", pytest.param("torchcodec", marks=needs_torchcodec)])
def test_scaling_as_they_come_changes_no_bit(make_video, tmp_path, monkeypatch, decoder, indices):
    path = make_video(tmp_path / "a.mp4", num_frames=40, options={"g": "12", "bf": "3"})
    # Down by no round number, up, and not at all; a random crop of each size.
    scales = [EvalTransform(side, 32).scale for side in (45, 80, 64)]
    scales += [
        TrainTransform((side, side), 32).cropping(np.random.default_rng(side)) for side in (45, 80, 64, 32)
    ]
    with open_video(path, decoder=decoder) as video:
        whole = video.frames_at(indices)
        expected = [scale(whole) for scale in scales]
    monkeypatch.setattr(_frames, "BYTES_ON_THE_CPU", THREE)
    for scale, rows in zip(scales, expected, strict=True):
        seen = []
        with open_video(path, decoder=decoder) as video:
            kept = video.frames_at(
                indices, lambda some, scale=scale, seen=seen: seen.append(len(some)) or scale(some)
            )
        assert kept.dtype == torch.uint8
        assert torch.equal(kept, rows)
        assert max(seen) <= 3
        assert sum(seen) == max(len(set(indices)), 1)


def test_what_is_held_fits_the_memory_that_small_pictures_take(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=40)
    seen = []
    with open_video(path) as video:
        video.frames_at(range(40), lambda some: seen.append(len(some)) or some)
    assert seen == [40]


def test_what_comes_whole_is_not_copied():
    some = torch.zeros(3, 2, 2, 3, dtype=torch.uint8)
    frames = Frames(3)
    frames.put_run(0, some)
    assert frames.tensor().data_ptr() == some.data_ptr()


@pytest.mark.parametrize("room", [1, 2, 6, 100])
@pytest.mark.parametrize("scale", [None, lambda some: some, lambda some: some[:, :2].clone()])
def test_places_may_be_filled_again(monkeypatch, scale, room):
    """As a decoder does that finds a group of pictures damaged, or that another one takes over from."""
    monkeypatch.setattr(_frames, "BYTES_ON_THE_CPU", room * 48)
    frames = Frames(6, scale)
    good = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    for slot in (0, 1, 2, 3):
        frames.put(slot, good[slot] ^ 255)
    frames.put(2, good[2])
    for slot in (3, 4, 5, 0):
        frames.put(slot, good[slot])
    frames.put(1, good[1])
    frames.put_run(3, torch.from_numpy(good[3:5]))
    rows = torch.from_numpy(good)
    assert torch.equal(frames.tensor(), rows if scale is None else scale(rows))


MEMORY = """
import resource, sys
import numpy as np
from octvideo.data.dataset import ClipSpec, EvalDataset, TrainDataset
from octvideo.data.manifest import Manifest
from octvideo.data.transforms import EvalTransform, TrainTransform

small, large = sys.argv[1:]
for path in (small, large):
    manifest, spec = Manifest("here", (path,), (0,)), ClipSpec(16, 2)
    views = EvalDataset(manifest, spec, EvalTransform(), num_clips=2)[0]["views"]
    clip = TrainDataset(manifest, ClipSpec(40, 1), TrainTransform(), seed=0)[0]["clip"]
    print(len(views.frames), tuple(clip.shape), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_picture(make_video, tmp_path):
    """40 frames of 4K are a gigabyte; what a process needs beyond a small video's is the decoder's and two frames."""
    options = {"preset": "ultrafast", "g": "12"}
    small = make_video(tmp_path / "small.mp4", num_frames=40, size=(256, 340), options=options)
    large = make_video(tmp_path / "large.mp4", num_frames=40, size=(2160, 3840), options=options)
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(small), str(large)], capture_output=True, text=True, check=True
    )
    (_, of_small), (_, of_large) = (line.rsplit(" ", 1) for line in run.stdout.splitlines())
    assert int(of_large) - int(of_small) < 500, run.stdout  # MB
