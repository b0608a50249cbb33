"""Scores of an interrupted test come back to the last digit."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, TensorDataset

from octvideo.evaluation.module import ScoredModule
from octvideo.evaluation.partial import KeepScores, PartialScores, fingerprint


def test_scores_come_back_exactly(tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = [(video, video % 3, rng.random(5), 30) for video in (4, 1, 9)]
    first, second = (PartialScores(tmp_path, "abc", 5) for _ in range(2))  # two processes
    first.append(*rows[0])
    second.append(*rows[1])
    first.append(*rows[2])
    found = {
        video: (label, scores, views)
        for video, label, scores, views, _ in PartialScores(tmp_path, "abc", 5).read()
    }
    assert sorted(found) == [1, 4, 9]
    for video, label, scores, views in rows:
        assert (found[video][0], found[video][2]) == (label, views)
        np.testing.assert_array_equal(found[video][1], scores)
    assert list(PartialScores(tmp_path, "other", 5).read()) == []
    first.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_record_cut_short_is_left_out(tmp_path) -> None:
    scores = PartialScores(tmp_path, "abc", 4)
    scores.append(0, 1, np.ones(4), 2)
    scores.append(1, 1, np.ones(4), 2)
    scores.close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    assert [video for video, *_ in PartialScores(tmp_path, "abc", 4).read()] == [0]


@pytest.mark.parametrize("change", ["weights", "settings", "nothing"])
def test_fingerprint(tmp_path, change: str) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"weights")
    (tmp_path / "b.ckpt").write_bytes(b"others" if change == "weights" else b"weights")
    settings = {"num_clips": 10, "videos": ["/a.mp4"]}
    other = {**settings, "num_clips": 1} if change == "settings" else dict(reversed(settings.items()))
    same = fingerprint(tmp_path / "a.ckpt", settings) == fingerprint(tmp_path / "b.ckpt", other)
    assert same == (change == "nothing")


def test_a_full_disk_is_named(tmp_path) -> None:
    scores = PartialScores(tmp_path, "key", 2)
    scores.append(0, 0, np.zeros(2), 1)
    (written,) = tmp_path.iterdir()
    scores.close()
    scores._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115  a disk without room
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        scores.append(1, 0, np.zeros(2), 1)
    scores.close()
    assert len(list(PartialScores(tmp_path, "key", 2).read())) == 1, written


class Scores(ScoredModule):
    """Gives each video the logits of its number; fails at one that is asked for."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        self.num_classes, self.multi_label, self.view_batch_size = 5, False, 8
        self.fails_at = fails_at
        self.start_scoring()

    def on_before_batch_transfer(self, batch: list[torch.Tensor], dataloader_idx: int) -> dict:
        return dict(zip(("clip", "label", "video"), batch, strict=True))

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        if self.fails_at is not None and (clip[:, 0, 0, 0, 0] == self.fails_at).any():
            raise KeyboardInterrupt
        return clip[:, 0, 0, 0, :5]


def test_a_test_that_was_stopped_is_counted_in(tmp_path) -> None:
    """Nothing is put into the module: scores are kept by a callback, and counted in at the end."""
    clips = torch.randn(4, 3, 1, 1, 5)
    clips[:, 0, 0, 0, 0] = torch.arange(4.0)

    def run(module: Scores, videos: list[int]) -> KeepScores:
        keep = KeepScores(PartialScores(tmp_path, "abc", 5))
        settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(accelerator="cpu", callbacks=[keep], default_root_dir=tmp_path, **settings)
        rows = TensorDataset(clips[videos], torch.tensor(videos), torch.tensor(videos))
        batches = DataLoader(rows, batch_size=1)
        with suppress(KeyboardInterrupt, SystemExit):
            trainer.test(module, batches, verbose=False)
        return keep

    run(Scores(fails_at=2), [0, 1, 2, 3])
    module = Scores()
    keep = run(module, [2, 3])
    assert [video for video, *_ in keep.earlier] == [0, 1]
    assert module.test_result.videos.tolist() == [0, 1, 2, 3]
    expected = clips[:, 0, 0, 0].double().softmax(dim=1).numpy()
    np.testing.assert_allclose(module.test_result.probabilities, expected, atol=1e-7)
    assert {video for video, *_ in keep.kept.read()} == {0, 1, 2, 3}
    keep.kept.remove()
    assert not list(tmp_path.glob("partial-*"))
