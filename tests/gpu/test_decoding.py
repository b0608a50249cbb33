"""Frames that are decoded on the GPU, against those of PyAV on the CPU."""

import shutil

import numpy as np
import pytest
import torch

from octvideo.data import KineticsDataModule
from octvideo.data.decode import cuda_failure, fallbacks, open_video

pytestmark = pytest.mark.gpu

# Chroma is upsampled and rounded otherwise, and that only: mean difference of a colour, of 255.
ALLOWED = 2.0


@pytest.fixture
def decoder(device) -> str:
    """The decoder that `auto` takes there; skips where none works, which fails where a GPU is required."""
    if device == "cpu":
        return "auto"
    reasons = {name: cuda_failure(name) for name in ("decord", "torchcodec")}
    working = [name for name, reason in reasons.items() if reason is None]
    if not working:
        pytest.skip(str(reasons))
    return working[0]


def compare(path, device: str, decoder: str, allowed: float = ALLOWED) -> None:
    with open_video(path, decoder="pyav") as video:
        num_frames = video.num_frames
        indices = [0, num_frames - 1, num_frames // 2, num_frames // 2, 1]
        expected = video.frames_at(indices).float()
    fallbacks.clear()
    with open_video(path, decoder=decoder, device=device) as video:
        frames = video.frames_at(indices)
        assert video.num_frames == num_frames
    assert device == "cpu" or not fallbacks, "decoded on the CPU"
    assert (frames.device.type, frames.dtype) == (device, torch.uint8)
    assert frames.shape == expected.shape
    difference = (frames.cpu().float() - expected).abs()
    assert difference.mean() < allowed
    others = (frames[0].cpu().float() - expected[1]).abs().mean()
    assert others > difference[0].mean(), "another frame fits as well"


@pytest.mark.parametrize("kind", ["h264", "hevc", "h264, wide colours", "h264, a size of no 16"])
def test_frames_are_those_of_the_cpu(device, decoder, make_video, tmp_path, kind):
    options = {
        "h264": {"codec": "libx264", "options": {"bf": "2", "g": "12", "crf": "12"}},
        "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
        "h264, wide colours": {
            "options": {"crf": "12", "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709"}
        },
        "h264, a size of no 16": {},
    }[kind]
    size = (182, 250) if kind.endswith("16") else (192, 256)  # hardware has a least size
    compare(make_video(tmp_path / "video.mp4", size=size, **options), device, decoder)


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "h265_video.mp4"])
def test_real_frames_are_those_of_the_cpu(device, decoder, clips, name):
    compare(clips / name, device, decoder)


def test_colours_of_bt709_and_full_range(device, decoder, clips):
    """decord has one colour matrix for all files."""
    compare(clips / "bt709_full_range.mp4", device, decoder, allowed=20 if decoder == "decord" else ALLOWED)


def test_rotated_frames_stand_upright(device, decoder, clips):
    compare(clips / "video_90.mov", device, decoder)


def test_memory_is_flat_over_500_files(device, decoder, make_video, tmp_path):
    count = 570 if device == "cuda" else 30
    one = make_video(tmp_path / "one.mp4", size=(192, 256))
    files = [shutil.copyfile(one, tmp_path / f"{number}.mp4") for number in range(count)]

    def free_after(some) -> int:
        for file in some:
            with open_video(file, decoder=decoder, device=device) as video:
                video.frames_at([0, 12, 24])
        return torch.cuda.mem_get_info()[0] if device == "cuda" else 0

    free_after(files[:20])
    before = free_after(files[20 : count // 8])
    assert before - free_after(files[count // 8 :]) < 64 * 2**20


@pytest.mark.parametrize("stage", ["train", "test"])
def test_frames_stay_there(device, decoder, make_video, tmp_path, stage):
    for number in range(2):
        make_video(tmp_path / f"{number}.mp4", num_frames=60, size=(192, 256))
    (tmp_path / "list.csv").write_text("0.mp4 0\n1.mp4 1\n")
    csv = {f"{stage}_csv": str(tmp_path / "list.csv")}
    data = KineticsDataModule(**csv, decode_device=device, num_workers=2, num_clips=2, batch_size=2, crop=128)
    batch = next(iter(getattr(data, f"{stage}_dataloader")()))
    if stage == "test":
        views = batch["views"][0]
        assert views.frames.device.type == device
        assert np.isfinite(views.cut().cpu().numpy()).all()
    else:
        assert batch["clip"].device.type == device
        assert data.on_after_batch_transfer(batch, 0)["clip"].device.type == device
