"""Scores of an interrupted test come back to the last digit."""

import numpy as np
import pytest

from octvideo.evaluation.partial import PartialScores, fingerprint


def test_scores_come_back_exactly(tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = [(video, video % 3, rng.random(5), 30) for video in (4, 1, 9)]
    first, second = (PartialScores(tmp_path, "abc", 5) for _ in range(2))  # two processes
    first.append(*rows[0])
    second.append(*rows[1])
    first.append(*rows[2])
    found = {
        video: (label, scores, views)
        for video, label, scores, views in PartialScores(tmp_path, "abc", 5).read()
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
