"""Labels of several classes, mirrored classes, rare ones, and Something-Something's files."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from octvideo.card import Card
from octvideo.data import KineticsDataModule, ManifestError, read_class_list, read_manifest
from octvideo.data.dataset import ClipIndex, ClipSampler, ClipSpec, TrainDataset
from octvideo.data.labels import balanced_draws, class_counts, mirrored, mirrored_classes
from octvideo.data.manifest import Manifest
from octvideo.data.sampling import random_segments, segment_views
from octvideo.data.transforms import TrainTransform
from octvideo.errors import InputError

NAMES = (
    "Pushing something from left to right",
    "Pushing something from right to left",
    "Dropping something",
    "Left hook",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("labels")
    for number in range(4):
        make_video(folder / f"{number}.webm", num_frames=4, size=(40, 48), codec="libvpx", options={})
    (folder / "labels.json").write_text(json.dumps({name: str(number) for number, name in enumerate(NAMES)}))
    templates = ["Pushing [something] from left to right", "Dropping [something]", "Left hook"]
    listed = [{"id": str(number), "label": "a", "template": one} for number, one in enumerate(templates)]
    (folder / "train.json").write_text(json.dumps(listed))
    (folder / "test.json").write_text(json.dumps([{"id": "3"}]))
    return folder


def test_something_something(folder) -> None:
    names = read_class_list(folder / "labels.json")
    assert names == NAMES
    manifest = read_manifest(folder / "train.json", class_names=names)
    assert manifest.labels == (0, 2, 3)
    assert manifest.paths[1] == str(folder / "1.webm")
    data = KineticsDataModule(predict_paths=str(folder / "test.json"), class_list=str(folder / "labels.json"))
    assert data.paths("predict") == (str(folder / "3.webm"),)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "no JSON"),
        ("{}", "a dict; allowed is a list of videos"),
        ('[{"id": 5}]', "video 1 has no id, a text"),
        ('[{"id": "1"}]', "video 1: the template, which is its label, is missing"),
        ('[{"id": "1", "template": "Juggling"}]', "label 'Juggling' is unknown"),
        ('[{"id": "../1", "template": "Dropping something"}]', "is outside the root"),
    ],
)
def test_annotations_that_are_none(folder, tmp_path, content: str, line: str) -> None:
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(ManifestError, match=line) as caught:
        read_manifest(tmp_path / "list.json", class_names=NAMES, root=folder)
    assert str(tmp_path / "list.json") in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "{}", '{"a": "x"}', '{"a": 0, "b": 2}', '{"a": -1}'])
def test_class_lists_that_are_none(tmp_path, content: str) -> None:
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(ManifestError, match=r"labels\.json"):
        read_class_list(tmp_path / "labels.json")


def test_mirrored_classes() -> None:
    assert mirrored_classes(NAMES) == (1, 0, 2, -1)
    assert mirrored_classes(["turn_left", "turn_right", "bright light", "cleft"]) == (1, 0, 2, 3)
    assert [mirrored(label, (1, 0, 2, -1)) for label in (0, 2, 3, -1, (0, 2), (2, 3))] == [
        1,
        2,
        None,
        -1,
        (1, 2),
        None,
    ]


def test_a_flipped_clip_has_the_mirrored_label(folder) -> None:
    """The square of these videos is at the left: where it is at the right, the clip is flipped."""
    options = {"num_frames": 2, "frame_stride": 1, "short_side": (40, 40), "crop": 40, "num_workers": 0}
    data = KineticsDataModule(
        train_csv=str(folder / "train.json"), class_list=str(folder / "labels.json"), flip=1.0, **options
    )
    dataset = data.train_dataloader().dataset
    labels, turned = zip(
        *((item["label"], bool(_right(item["clip"]))) for item in map(dataset.__getitem__, range(3))),
        strict=True,
    )
    assert labels == (1, 2, 3)
    assert turned == (True, True, False)  # no class is a mirrored left hook


def _right(clip: torch.Tensor) -> bool:
    """Whether the red square is in the right half: red less blue, by halves."""
    red = (clip[0, 0].float() - clip[2, 0].float()).sum(dim=0)
    return red[20:].sum() > red[:20].sum()


def test_segments_are_pyslowfasts() -> None:
    """`datasets/ssv2.py`, get_seq_frames, written down."""
    for length, count in ((40, 8), (12, 16), (1, 4), (117, 16)):
        size = float(length - 1) / count
        edges = [(int(np.round(size * i)), int(np.round(size * (i + 1)))) for i in range(count)]
        assert segment_views(length, count, 1) == [[(start + end) // 2 for start, end in edges]]
        drawn = [random_segments(length, count, np.random.default_rng(seed)) for seed in range(50)]
        assert all(
            start <= frame <= end for one in drawn for frame, (start, end) in zip(one, edges, strict=True)
        )
        assert np.ptp(drawn, axis=0).tolist() == [end - start for start, end in edges] or length > 100
    views = segment_views(100, 4, 5)
    assert len({tuple(view) for view in views}) == 5
    assert all(0 <= frame < 100 for view in views for frame in view)


def test_clips_of_segments_span_the_video() -> None:
    spec = ClipSpec.of(Card(num_frames=4, frame_times="segments"))
    assert spec.uniform(np.arange(100) / 7, 1) == segment_views(100, 4, 1)
    first, *_, last = spec.random(np.arange(100) / 7, np.random.default_rng(0))
    assert first < 25 < 74 < last


def imbalanced(balance: float, rank: int = 0, num_replicas: int = 1, epoch: int = 0) -> list[ClipIndex]:
    labels = (0,) * 90 + (1,) * 9 + (2,)
    manifest = Manifest("", tuple(map(str, range(100))), labels)
    dataset = TrainDataset(manifest, ClipSpec(), TrainTransform(), seed=0)
    sampler = ClipSampler(dataset, num_replicas=num_replicas, rank=rank, seed=0, balance=balance)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_balanced_draws() -> None:
    by_class = np.bincount([0] * 90 + [1] * 9 + [2], balanced_draws((0,) * 90 + (1,) * 9 + (2,), 1.0))
    np.testing.assert_allclose(by_class, [100 / 3] * 3)
    half = np.bincount([0] * 90 + [1] * 9 + [2], balanced_draws((0,) * 90 + (1,) * 9 + (2,), 0.5))
    roots = np.sqrt([90, 9, 1])
    np.testing.assert_allclose(half, 100 * roots / roots.sum())
    # A video of a frequent and a rare class is as rare as the latter.
    several = balanced_draws(((0,), (0,), (0, 1)), 1.0)
    assert several[2] == pytest.approx(3 * several[0])
    assert class_counts(((0,), (0, 1), (1, 2)), 4).tolist() == [2, 2, 1, 0]


def test_an_epoch_is_as_balanced_as_it_can_be() -> None:
    keys = imbalanced(1.0)
    assert len(keys) == len(set(keys)) == 100
    drawn = Counter(key.video for key in keys)
    of_class = [sum(drawn[v] for v in range(90)), sum(drawn[v] for v in range(90, 99)), drawn[99]]
    assert all(abs(count - 100 / 3) < 2 for count in of_class)
    assert max(drawn[v] for v in range(90)) == 1
    assert {key.draw for key in keys if key.video == 99} == set(range(drawn[99]))
    assert imbalanced(1.0) == keys != imbalanced(1.0, epoch=1)
    parts = [imbalanced(1.0, rank, 3) for rank in range(3)]
    assert [len(part) for part in parts] == [33] * 3
    assert {key for part in parts for key in part} <= set(keys)


def test_each_draw_of_a_video_is_another_clip(folder) -> None:
    manifest = Manifest("", (str(folder / "0.webm"),), (0,))
    dataset = TrainDataset(manifest, ClipSpec(2, 1), TrainTransform((40, 48), 32), seed=0)
    first, again, second = (dataset[ClipIndex(0, 0, draw)]["clip"] for draw in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_several_labels(folder, tmp_path) -> None:
    (tmp_path / "list.csv").write_text("0.webm 0|2\n1.webm,Dropping something|Left hook\n2.webm 1\n")
    read = {"root": folder, "class_names": NAMES}
    assert read_manifest(tmp_path / "list.csv", multi_label=True, **read).labels == ((0, 2), (2, 3), (1,))
    with pytest.raises(ManifestError, match=r"list.csv:1: label '0\|2' is unknown"):
        read_manifest(tmp_path / "list.csv", **read)
    with pytest.raises(InputError, match="num_classes is None"):
        KineticsDataModule(multi_label=True)
    options = {"num_frames": 2, "frame_stride": 1, "num_workers": 0, "short_side": (32, 40), "crop": 32}
    data = KineticsDataModule(
        train_csv=str(tmp_path / "list.csv"),
        test_csv=str(tmp_path / "list.csv"),
        predict_paths=[str(folder / "0.webm"), str(tmp_path / "list.csv")],
        root=str(folder),
        class_list=str(folder / "labels.json"),
        multi_label=True,
        test_short_side=32,
        test_crop=32,
        num_clips=1,
        flip=0.0,
        batch_size=3,
        **options,
    )
    (batch,) = data.train_dataloader()
    rows = {video: row.tolist() for video, row in zip(batch["video"].tolist(), batch["label"], strict=True)}
    assert rows == {0: [1, 0, 1, 0], 1: [0, 0, 1, 1], 2: [0, 1, 0, 0]}
    assert [batch["label"].tolist() for batch in data.test_dataloader()] == [
        [[1, 0, 1, 0]],
        [[0, 0, 1, 1]],
        [[0, 1, 0, 0]],
    ]
    assert [batch["label"].tolist() for batch in data.predict_dataloader()] == [[-1]] * 4
    assert data.class_counts().tolist() == [1, 1, 2, 1]
