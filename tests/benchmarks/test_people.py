"""`python -m benchmarks.people`: its classifier, its splits, its last stage, and the page that it writes."""

import json

import numpy as np
import pytest
import torch

from benchmarks.people.__main__ import CHECKOUT, SHARED
from benchmarks.people.features import Frozen
from benchmarks.people.footage import PLACES, Clip, Footage, Split, View, shown
from benchmarks.people.linear import ridge, share_right
from benchmarks.people.networks import MODEL, Network
from benchmarks.people.report import PAGE, RESULTS, page
from benchmarks.people.results import merged
from benchmarks.people.tuning import Recipe, Tuning
from octvideo.models import create_model
from octvideo.models.table import model_card
from octvideo.models.weights import save_weights

needs_footage = pytest.mark.skipif(not (SHARED / "datasets").is_dir(), reason="no ../shared/datasets")


def test_page_is_that_of_the_numbers():
    assert (CHECKOUT / PAGE).read_text() == page(json.loads((CHECKOUT / RESULTS).read_text()))


def test_ridge_is_least_squares_with_a_penalty():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(3.0, 2.0, (12, 5)), np.arange(12) % 3
    weight, bias = ridge(features, labels, 0.5)
    scaled = (features - features.mean(0)) / features.std(0)
    targets = np.eye(3)[labels] - 1 / 3
    # The penalty as more rows: square root of its strength times the number of features, with targets of 0.
    rows = np.concatenate([scaled, np.sqrt(0.5 * 5) * np.eye(5)])
    expected = np.linalg.lstsq(rows, np.concatenate([targets, np.zeros((5, 3))]), rcond=None)[0]
    np.testing.assert_allclose(features @ weight + bias, scaled @ expected + 1 / 3)


def test_share_right_counts_videos_not_splits():
    splits = [Split("a", (), (0,)), Split("b", (), (1, 2, 3))]
    scores = [np.eye(2)[[1]], np.eye(2)[[0, 1, 1]]]
    assert share_right(scores, np.array([0, 0, 1, 1]), splits) == (0.75, [0.0, 1.0])


@needs_footage
def test_no_sequence_is_learnt_from_and_tested():
    footage = Footage(SHARED / "datasets" / "ut_interaction")
    folds = footage.splits["ten folds"]
    assert sorted(video for fold in folds for video in fold.test) == list(range(120))
    for split in [*folds, *footage.splits["halves"], *footage.trials]:
        parts = [{footage.paths[i].split("_g")[1][:2] for i in part} for part in (split.train, split.test)]
        assert not parts[0] & parts[1]
    chosen_by = {i for split in footage.trials for i in (*split.train, *split.test)}
    assert chosen_by == set(footage.splits["halves"][0].train)


class Drawn(Footage):
    """Videos of noise."""

    def __init__(self) -> None:
        self.name, self.classes, self.labels = "drawn", ["a", "b"], np.array([0, 1, 0, 1])

    def clips(self, clip, cache):
        rng = np.random.default_rng(0)
        shape = (len(PLACES), 3, clip.num_frames, clip.side, clip.side)
        return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in self.labels]


@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_last_stage_goes_on_where_the_frozen_part_ends(tmp_path, alpha):
    torch.manual_seed(0)
    weights = tmp_path / "net.safetensors"
    save_weights(weights, create_model(MODEL).state_dict(), model_card(MODEL))
    frozen = Frozen(Network(alpha, str(weights)), Drawn(), Clip(8, 15.0, 64), tmp_path)
    for place in PLACES:
        frozen.compute(View(place))
    network = frozen.network.last_stage()
    inputs, seen = torch.from_numpy(frozen._part(View(), "last_stage")).float(), []
    network.fc.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        logits = network(inputs)
    np.testing.assert_allclose(seen[0], frozen.features(View()), rtol=0.01, atol=1e-3)
    np.testing.assert_allclose(logits, frozen.logits(View()), rtol=0.01, atol=1e-3)

    # Fine-tuned at a rate of nothing, the scores are those of the ridge classifier.
    tuning = Tuning(frozen, Split("all", (0, 1), (2, 3)), Recipe(0.0, 1))
    tuning.compute()
    weight, bias = ridge(frozen.side_by_side()[:2], frozen.footage.labels[:2])
    np.testing.assert_allclose(tuning.scores(), 10 * (frozen.side_by_side()[2:] @ weight + bias), atol=0.1)


def test_views():
    clips = np.arange(3 * 3 * 4).reshape(3, 3, 4, 1, 1)
    assert shown(clips, View("end"))[0, :, 0, 0].tolist() == [24, 25, 26, 27]
    assert shown(clips, View("start", "first"))[0, :, 0, 0].tolist() == [0, 0, 0, 0]
    assert shown(clips, View(change="backward"))[0, :, 0, 0].tolist() == [15, 14, 13, 12]


def test_merged_keeps_what_is_not_computed_again():
    def row(alpha, **found):
        return {"set": "drawn", "splits": "halves", "alpha": alpha, **found}

    before = {
        "clip": "8 frames",
        "known": {"a.mp4": []},
        "timed": {"threads": 2},
        "classified": [row(0.0, one_clip=0.5, first_frame=0.4), row(0.25, one_clip=0.3)],
        "fitted": [],
        "trials": {"tennis": {"frozen": 0.6}},
    }
    now = {
        **before,
        "known": {},
        "timed": {"threads": 1},
        "classified": [row(0.0, one_clip=0.6), row(0.125, one_clip=0.2)],
        "trials": {"drawn": {"frozen": 0.7}},
    }
    found = merged(before, now)
    assert found["known"] == {"a.mp4": []}
    assert found["timed"] == {"threads": 1}
    assert found["classified"] == [
        row(0.0, one_clip=0.6, first_frame=0.4),  # new where it is new, else as it was
        row(0.125, one_clip=0.2),
        row(0.25, one_clip=0.3),
    ]
    assert found["trials"] == {"tennis": {"frozen": 0.6}, "drawn": {"frozen": 0.7}}
    assert merged({**before, "clip": "16 frames"}, now) == now  # other clips: nothing can be compared
    assert merged({}, now) == now
