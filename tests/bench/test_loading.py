"""The loading benchmark's bookkeeping, and that pytorchvideo's loader gives the clips that ours gives."""

import json

import pytest
import torch

from octvideo.bench.loading import bench_loading
from octvideo.bench.pytorchvideo_loader import pytorchvideo_loader
from octvideo.cli import main
from octvideo.data import open_video
from octvideo.data.dataset import ClipSpec
from octvideo.data.transforms import TrainTransform


@pytest.mark.slow
def test_the_command_writes_what_it_prints(make_video, tmp_path, capsys):
    videos = [str(make_video(tmp_path / f"{name}.mp4", num_frames=70)) for name in "ab"]
    arguments = ["--num_clips", "4", "--rounds", "1", "--num_workers", "1", "--out", str(tmp_path / "out")]
    assert main(["bench", "data", *videos, *arguments]) == 0
    report = json.loads((tmp_path / "out" / "loading.json").read_text())
    assert [rate["name"] for rate in report["rates"]] == [
        "octvideo",
        "pytorchvideo, decord",
        "pytorchvideo, pyav",
    ]
    assert report["rates"][0]["times"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    printed = capsys.readouterr().out
    for rate in report["rates"]:
        assert f"{rate['clips_per_second']:.1f}" in printed
    assert (report["num_videos"], report["num_clips"], report["num_workers"]) == (2, 4, 1)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_the_peer_takes_the_same_frames(make_video, tmp_path, decoder):
    """A video as long as the clip leaves one start; no jitter and no crop leave the pixels."""
    path = make_video(tmp_path / "a.mp4", num_frames=64, size=(64, 64))
    loader = pytorchvideo_loader(
        [str(path)],
        decoder=decoder,
        spec=ClipSpec(),
        transform=TrainTransform((64, 64), 64, 0.0),
        batch_size=1,
        num_workers=1,
    )
    clip = next(iter(loader))["clip"]
    with open_video(path) as video:
        expected = video.frames_at(range(0, 64, 8)).permute(3, 0, 1, 2)[None]
    assert torch.equal(clip, expected.float())


def test_bad_arguments():
    with pytest.raises(ValueError, match="paths is 0, allowed is 1 or more"):
        bench_loading([])
    with pytest.raises(ValueError, match="num_workers is 0, allowed is 1 or more"):
        bench_loading(["a.mp4"], num_workers=0)
