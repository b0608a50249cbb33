"""Windows of long videos, on videos in which every frame tells its number."""

import pytest
import torch

from octvideo.data import KineticsDataModule
from octvideo.data.manifest import Manifest
from octvideo.data.windows import Window, plan_windows

SMALL = {
    "num_frames": 4,
    "frame_stride": 5,
    "test_short_side": 32,
    "test_crop": 32,
    "num_clips": 2,
    "num_crops": 1,
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("windows")
    make_video(folder / "long.mp4", num_frames=75, size=(48, 64))  # 2.5 s
    make_video(folder / "short.mkv", num_frames=30, size=(48, 64))
    (folder / "bad.mp4").write_bytes(b"no video")
    return [str(folder / name) for name in ("short.mkv", "long.mp4", "bad.mp4")]


def test_plan(videos):
    starts = [0.0, 0.5, 1.0, 1.5]
    assert plan_windows(videos, 1.0, 0.5) == [Window(0), *(Window(1, s, s + 1) for s in starts), Window(2)]
    assert plan_windows(videos, 2.5, 1.0) == [Window(0), Window(1), Window(2)]
    for window, hop, text in ((0, 1, "window_s is 0"), (1, 0, "hop_s is 0"), (1, 2, "at most window_s, 1")):
        with pytest.raises(ValueError, match=text):
            plan_windows(videos, window, hop)


def test_bad_files_are_windows_that_name_them(videos, tmp_path, make_video):
    good = make_video(tmp_path / "whole.ts", num_frames=30, size=(48, 64)).read_bytes()
    bad = {
        "cut.ts": good[:300],  # PyAV's EOFError, which is no OSError
        "cut_later.ts": good[:1000],
        "empty.mp4": b"",
        "text.mp4": b"no video\n",
        "elsewhere.mp4": b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.mp4").mkdir()
    paths = [str(tmp_path / name) for name in (*bad, "folder.mp4")]
    paths += ["http://127.0.0.1:9/a.mp4", videos[1]]
    windows = plan_windows(paths, 1.0, 0.5)
    assert windows[: len(paths) - 1] == [Window(video) for video in range(len(paths) - 1)]
    assert [window.start for window in windows[len(paths) - 1 :]] == [0.0, 0.5, 1.0, 1.5]
    data = KineticsDataModule(predict_paths=videos[1], num_workers=0, **SMALL)
    data.manifests["predict"] = Manifest("here", tuple(paths), (-1,) * len(paths))
    data = data.part(windows=windows)
    batches = list(data.predict_dataloader())
    for number, (path, batch) in enumerate(zip(paths[:-1], batches, strict=False)):
        ((row, text),) = batch["errors"]
        assert row == number
        assert path.removeprefix("http://") in text
    assert all("views" in batch for batch in batches[len(paths) - 1 :])
    assert "no such file" in batches[len(paths) - 2]["errors"][0][1]
    assert "is not a file" in batches[len(paths) - 3]["errors"][0][1]


def test_the_views_of_a_window_are_those_of_its_frames(videos):
    data = KineticsDataModule(predict_paths=videos, num_workers=0, **SMALL)
    whole = list(data.predict_dataloader())
    data = data.part(windows=plan_windows(videos, 1.0, 0.5))
    batches = list(data.predict_dataloader())
    assert [batch["video"].tolist() for batch in batches if "views" in batch] == [[0], [1], [2], [3], [4]]
    assert torch.equal(batches[0]["views"][0].cut(), whole[0]["views"][0].cut())  # short: as it was
    left = [views.frames[views.places, -8:, 5:13, 2] for batch in batches[1:5] for views in batch["views"]]
    grey = torch.stack(left).float().mean((-1, -2))
    numbers = ((grey - 20) / 8).round().int()  # frame numbers, in cycles of 25
    # 30 frames hold a clip of 20 with 10 to spare: two clips start at 0 and 5, frames 19/3 apart.
    clips = torch.tensor([[0, 6, 12, 19], [5, 11, 17, 24]])
    for window, first in enumerate((0, 15, 30, 45)):
        assert numbers[window].tolist() == ((clips + first) % 25).tolist()
    ((number, error),) = batches[5]["errors"]
    assert number == 5
    assert videos[2] in error
