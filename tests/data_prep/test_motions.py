"""The demo data set: its files, and that its classes differ in motion and in nothing else."""

from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from skimage.registration import optical_flow_ilk

from data_prep.motions.__main__ import main
from data_prep.motions.dataset import Plan, render
from data_prep.motions.motion import CLASSES, OCTAVES, Motion
from data_prep.motions.scene import SPLITS, Scene, make_scene
from data_prep.motions.textures import PERIOD, PHOTOGRAPHS, Texture

SMALL = Plan(num_train=8, num_val=0, num_test=16, seed=3)
NUM_CLASSES = len(CLASSES)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("motions")
    assert render(folder, SMALL, jobs=1) == 24
    return folder


def rows(folder: Path, split: str) -> list[tuple[Path, int]]:
    pairs = (line.split(" ") for line in (folder / f"{split}.csv").read_text().splitlines())
    return [(folder / path, int(label)) for path, label in pairs]


def decode(path: Path) -> tuple[np.ndarray, float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        return frames, float(stream.average_rate)


# Files


def test_layout(dataset: Path) -> None:
    names = (dataset / "classes.txt").read_text().splitlines()
    assert len(names) == len(set(names)) >= 8
    for split in SPLITS:
        listed = rows(dataset, split)
        assert len(listed) == getattr(SMALL, f"num_{split}")
        assert all(path.is_file() for path, _ in listed)
        counts = Counter(label for _, label in listed)
        assert counts == dict.fromkeys(range(len(names)) if listed else (), len(listed) // len(names))
    on_disk = {path.name for path in (dataset / "videos").iterdir()}
    assert on_disk == {path.name for split in SPLITS for path, _ in rows(dataset, split)}


def test_videos_are_h264_of_many_kinds(dataset: Path) -> None:
    rates, sizes, lengths = set(), set(), set()
    for path, _ in rows(dataset, "train") + rows(dataset, "test"):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert SMALL.min_side - 1 <= min(stream.width, stream.height) <= SMALL.max_side + 1
            rates.add(float(stream.average_rate))
            sizes.add((stream.width, stream.height))
            lengths.add(float(stream.duration * stream.time_base))
    assert rates == {24, 25, 30}
    assert len(sizes) > 8
    assert 1.5 < min(lengths) < max(lengths) - 0.5 < 2.4


def test_same_arguments_same_bytes(dataset: Path, tmp_path: Path) -> None:
    render(tmp_path / "again", SMALL, jobs=2)
    files = sorted(path.relative_to(dataset) for path in dataset.rglob("*") if path.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file()
    )
    for file in files:
        assert (dataset / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


def test_seed_split_and_index_each_give_another_video() -> None:
    frames = [
        make_scene(*which)[0].frame(0)
        for which in [(0, "train", 0), (1, "train", 0), (0, "train", 8), (0, "val", 0)]
    ]
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_no_photograph_is_in_two_splits() -> None:
    names = [name for split in SPLITS for name in PHOTOGRAPHS[split]]
    assert len(names) == len(set(names))


# Running again


def test_second_run_renders_nothing(dataset: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    assert render(dataset, SMALL, jobs=1) == 0
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_interrupted_run_is_continued(tmp_path: Path) -> None:
    plan = Plan(num_train=4, num_val=0, num_test=0)

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(tmp_path, plan, jobs=1, on_video=interrupt)
    assert not (tmp_path / "train.csv").exists()
    assert 2 <= 4 - render(tmp_path, plan, jobs=1) < 4
    assert len(rows(tmp_path, "train")) == 4


def test_lost_and_damaged_videos_are_rendered_again(tmp_path: Path) -> None:
    plan = Plan(num_train=3, num_val=0, num_test=0)
    render(tmp_path, plan, jobs=1)
    first, second, _ = (path for path, _ in rows(tmp_path, "train"))
    content = [first.read_bytes(), second.read_bytes()]
    first.unlink()
    assert render(tmp_path, plan, jobs=1) == 1
    second.write_bytes(b"damaged")
    assert render(tmp_path, plan, jobs=1) == 3
    assert [first.read_bytes(), second.read_bytes()] == content


def test_other_arguments_for_the_same_folder(dataset: Path, capsys) -> None:
    assert main([str(dataset), "--num-train", "8", "--seed", "4"]) == 2
    message = capsys.readouterr().err
    assert str(dataset.resolve()) in message
    assert "seed=3" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    "option", [["--num-test", "-1"], ["--min-side", "100", "--max-side", "90"], ["--jobs", "0"]]
)
def test_wrong_arguments(tmp_path: Path, capsys, option: list[str]) -> None:
    assert main([str(tmp_path / "out"), *option]) == 2
    message = capsys.readouterr().err
    assert option[0].strip("-").replace("-", "_") in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_folder_of_something_else(tmp_path: Path, capsys) -> None:
    (tmp_path / "train.csv").write_text("mine")
    assert main([str(tmp_path)]) == 2
    assert str(tmp_path.resolve()) in capsys.readouterr().err
    assert (tmp_path / "train.csv").read_text() == "mine"


def test_file_instead_of_a_folder(tmp_path: Path, capsys) -> None:
    file = tmp_path / "out"
    file.write_text("mine")
    assert main([str(file)]) == 2
    assert str(file.resolve()) in capsys.readouterr().err


def test_missing_packages_are_named_with_the_extra(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("data_prep.motions.__main__.find_spec", lambda name: None)
    assert main([str(tmp_path)]) == 2
    assert "pip install 'octvideo[prep]'" in capsys.readouterr().err


# What a class is


def mean_flow(frames: np.ndarray, scene: Scene) -> np.ndarray:
    """Mean over pairs of frames of (right, down, clockwise, outward) motion around the patch's centre.

    From dense optical flow; the last two in pixels at the rim of the disc that is looked at.
    """
    radius = 0.3 * scene.side
    left, top = (int(max(0, middle - radius - 5)) for middle in scene.centre)
    window = np.s_[top : int(scene.centre[1] + radius + 5), left : int(scene.centre[0] + radius + 5)]
    grey = frames.mean(axis=3)[:, *window] / 255
    y, x = np.mgrid[: grey.shape[1], : grey.shape[2]] + 0.5
    x, y = x + left - scene.centre[0], y + top - scene.centre[1]
    inside = x**2 + y**2 < radius**2
    motions = []
    for first in range(0, len(frames) - 1, 8):
        down, right = optical_flow_ilk(grey[first], grey[first + 1], radius=6, num_warp=5)
        turning = (x * down - y * right)[inside].mean() * 2 / radius
        outward = (x * right + y * down)[inside].mean() * 2 / radius
        motions.append([right[inside].mean(), down[inside].mean(), turning, outward])
    return np.median(motions, axis=0)  # a cut is an outlier


def test_label_is_the_motion_seen(dataset: Path) -> None:
    """Optical flow of the decoded videos, which knows nothing of how they were drawn."""
    expected = {
        "moving left": (0, -1),
        "moving right": (0, 1),
        "moving up": (1, -1),
        "moving down": (1, 1),
        "turning clockwise": (2, 1),
        "turning counter-clockwise": (2, -1),
        "zooming in": (3, 1),
        "zooming out": (3, -1),
    }
    wrong = []
    for index, (path, label) in enumerate(rows(dataset, "test")):
        scene, _ = make_scene(SMALL.seed, "test", index)
        motion = mean_flow(decode(path)[0], scene)
        strongest = int(np.abs(motion).argmax())
        if (strongest, np.sign(motion[strongest])) != expected[CLASSES[label]]:
            wrong.append((path.name, CLASSES[label], motion.round(2)))
    assert len(wrong) <= 2, wrong  # flow fails on plain stretches of a photograph


# What a class is not


def test_drawing_never_sees_the_class() -> None:
    """The same generator with another label: everything but the motion is the same."""
    scenes = [Scene(label, "train", np.random.default_rng(5), 64, 96) for label in range(NUM_CLASSES)]
    first = scenes[0]
    for scene in scenes[1:]:
        assert (scene.fps, scene.num_frames, scene.crf, scene.height, scene.width) == (
            first.fps,
            first.num_frames,
            first.crf,
            first.height,
            first.width,
        )
        assert np.array_equal(scene.centre, first.centre)
        assert scene.motion.phase == first.motion.phase
        assert scene.motion.period_seconds == first.motion.period_seconds
        assert [shot.angle for shot in scene.motion.shots] == [shot.angle for shot in first.motion.shots]


def features(frame: np.ndarray) -> np.ndarray:
    """Place, colour and sharpness: an 8 x 8 thumbnail and the energy of gradients in its cells."""

    def cells(image: np.ndarray) -> np.ndarray:
        rows, columns = image.shape[0] // 8 * 8, image.shape[1] // 8 * 8
        return image[:rows, :columns].reshape(8, rows // 8, 8, columns // 8).mean(axis=(1, 3)).ravel()

    grey = frame.astype(float).mean(axis=2)
    edges = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(
        np.diff(grey, axis=1, append=grey[:, -1:])
    )
    return np.concatenate([cells(grey), cells(edges), frame.mean(axis=(0, 1)), frame.std(axis=(0, 1))])


def ridge_accuracy(x: np.ndarray, labels: np.ndarray) -> float:
    """Held-out accuracy of a linear classifier, two folds."""
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    fold = np.arange(len(x)) // NUM_CLASSES % 2
    correct = 0
    for held_out in (0, 1):
        a, b = x[fold != held_out], np.eye(NUM_CLASSES)[labels[fold != held_out]]
        weights = np.linalg.solve(a.T @ a + 30 * np.eye(a.shape[1]), a.T @ b)
        correct += ((x[fold == held_out] @ weights).argmax(axis=1) == labels[fold == held_out]).sum()
    return correct / len(x)


def test_one_frame_tells_nothing() -> None:
    """A linear classifier of single frames is at chance, at the start of videos and later.

    That it could do better is seen by giving it the label in noise.
    """
    scenes = [make_scene(7, "train", index, min_side=32, max_side=40) for index in range(240)]
    labels = np.array([label for _, label in scenes])
    chance = 1 / NUM_CLASSES
    spread = np.sqrt(chance * (1 - chance) / len(labels))
    for place in (0.0, 0.7):
        x = np.stack([features(scene.frame(int(place * (scene.num_frames - 1)))) for scene, _ in scenes])
        assert abs(ridge_accuracy(x, labels) - chance) < 3.5 * spread, place
    leak = np.eye(NUM_CLASSES)[labels] + np.random.default_rng(0).normal(
        0, 0.3, size=(*x.shape[:1], NUM_CLASSES)
    )
    assert ridge_accuracy(np.concatenate([x, leak], axis=1), labels) > 0.5


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("seconds", [0.0, 1.0, 2.5])
def test_pose_has_one_distribution_at_every_time(name: str, seconds: float) -> None:
    """Scale, angle and place of the moving texture are uniform at any time, whatever the class."""
    rng = np.random.default_rng(CLASSES.index(name))
    poses = [Motion(name, rng, 2.5).pose(seconds) for _ in range(2000)]
    x, y = np.array([pose.place for pose in poses]).T / PERIOD
    uniform = {
        "x": x,
        "y": y,
        "angle": np.array([pose.angle for pose in poses]) / (2 * np.pi) % 1,
        "octaves": np.array([pose.octaves for pose in poses]) / OCTAVES + 0.5,
    }
    for what, values in uniform.items():
        distance = np.abs(np.sort(values) - (np.arange(2000) + 0.5) / 2000).max()  # Kolmogorov-Smirnov
        assert distance < 2.23 / np.sqrt(2000), what  # 1 in 10,000 uniform samples is farther


def test_backwards_a_video_is_of_the_opposite_class() -> None:
    """Same draws, opposite class, time reversed within a shot: the poses differ by a fixed one only."""
    for name, opposite in zip(CLASSES[::2], CLASSES[1::2], strict=True):
        forth, back = (Motion(which, np.random.default_rng(1), 2.5) for which in (name, opposite))
        start = (1 - forth.phase) * forth.period_seconds  # of the second shot
        forth.heading_offset_degrees = back.heading_offset_degrees = 0.0
        steps = np.linspace(0.01, 0.99, 5) * forth.period_seconds
        ours = [forth.pose(start + step) for step in steps]
        theirs = [back.pose(start + step) for step in steps[::-1]]
        for field in ("angle", "octaves"):
            difference = [getattr(a, field) - getattr(b, field) for a, b in zip(ours, theirs, strict=True)]
            assert np.ptp(difference) < 1e-6, (name, field)
        moved = np.array([a.place - b.place for a, b in zip(ours, theirs, strict=True)])
        moved = (moved - moved[0] + PERIOD / 2) % PERIOD
        assert np.allclose(moved, PERIOD / 2, atol=1e-2), name


# Textures


def test_texture_is_periodic_without_a_seam() -> None:
    tile = np.random.default_rng(0).uniform(0, 255, size=(16, 16, 3)).astype(np.float32)
    texture = Texture(tile)
    x, y = np.random.default_rng(1).uniform(0, 32, size=(2, 50)).astype(np.float32)
    here = texture.sample(x, y, 1.0)[:, :3]
    assert np.allclose(here, texture.sample(x + 32, y - 64, 1.0)[:, :3], atol=0.05)
    assert np.allclose(here, texture.sample(32 - x, y, 1.0)[:, :3], atol=0.05)
    centres = np.arange(16, dtype=np.float32) + np.float32(0.5)
    assert np.allclose(texture.sample(centres, np.full(16, 4.5, np.float32), 1.0)[:, :3], tile[4])
