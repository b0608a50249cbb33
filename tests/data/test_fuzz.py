"""Damaged copies of good videos: no hang, no crash, and every file is accounted for.

    python -m tests.data.test_fuzz VIDEOS --count 10000 --jobs 8 --out runs/fuzz

makes many more than the tests do (a multiple of 4, the sources all readable), checks them and takes an epoch's
training clips of them.
"""

import argparse
import logging
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from data_prep.check import STATUSES, check
from octvideo.data import KineticsDataModule

KINDS = ("flip", "cut", "zero", "splice", "header")


def mutate(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """(kind, a damaged copy): bits flipped, the end cut off, a part zeroed or left out, the header scrambled."""
    kind = rng.choice(KINDS)
    damaged = bytearray(content)
    place = rng.randrange(len(damaged))
    if kind == "flip":
        for _ in range(rng.choice((1, 10, 100, 1000))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del damaged[place:]
    elif kind == "zero":
        size = min(rng.choice((100, 5_000, 50_000)), len(damaged) - place)
        damaged[place : place + size] = bytes(size)
    elif kind == "splice":
        damaged = damaged[:place] + damaged[rng.randrange(len(damaged)) :]
    else:
        for _ in range(20):
            damaged[rng.randrange(min(2_000, len(damaged)))] = rng.randrange(256)
    return kind, bytes(damaged)


def write_mutants(sources: Sequence[Path], folder: Path, count: int, seed: int = 0) -> list[Path]:
    """`count` damaged copies of the sources in turn; the same for the same seed."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = [source.read_bytes() for source in sources]
    paths = []
    for number in range(count):
        rng = random.Random(seed * 1_000_003 + number)
        kind, damaged = mutate(contents[number % len(contents)], rng)
        path = folder / f"{number:05d}_{kind}{sources[number % len(sources)].suffix}"
        if not path.exists() or path.read_bytes() != damaged:
            path.write_bytes(damaged)
        paths.append(path)
    return paths


def train_on(paths: Sequence[Path], good: Sequence[Path], folder: Path, num_workers: int) -> Counter[str]:
    """Takes an epoch of training clips of the damaged files and as many good ones; counts what came of them.

    The good ones see to it that some other clip can stand in for one that can't be read.
    """
    copies = []
    for number in range(len(paths)):
        source = good[number % len(good)]
        copies.append(folder / "good" / f"{number:05d}{source.suffix}")
        copies[-1].parent.mkdir(exist_ok=True)
        copies[-1].unlink(missing_ok=True)
        copies[-1].symlink_to(source.absolute())
    manifest = folder / "all.csv"
    manifest.write_text("".join(f"{path.absolute()} 0\n" for path in (*paths, *copies)))
    data = KineticsDataModule(
        train_csv=str(manifest),
        root="/",
        num_frames=4,
        short_side=(64, 80),
        crop=64,
        batch_size=8,
        num_workers=num_workers,
        seconds_a_video=60,
    )
    counts: Counter[str] = Counter()
    unreadable: set[int] = set()
    for batch in data.train_dataloader():
        counts["clips"] += len(batch["video"])
        unreadable.update(video for video, _ in batch["replaced"])
    counts["unreadable"] = len(unreadable)
    counts["good ones unreadable"] = sum(video >= len(paths) for video in unreadable)
    counts["ok"] = len(paths) - counts["unreadable"]
    return counts


@pytest.fixture
def sources(make_video, tmp_path):
    return [
        make_video(tmp_path / "a.mp4", num_frames=40),
        make_video(tmp_path / "b.mkv", num_frames=40),
        make_video(tmp_path / "c.ts", num_frames=40),
        make_video(tmp_path / "d.avi", num_frames=40, codec="mpeg4"),
        make_video(tmp_path / "e.mp4", num_frames=40, codec="mpeg4"),
    ]


def test_mutants_are_accounted_for(sources, tmp_path):
    paths = write_mutants(sources, tmp_path / "mutants", 24)
    results = check([str(path) for path in paths], tmp_path, jobs=1, time_limit=30)
    counts = Counter(result["status"] for result in results.values())
    assert set(counts) <= set(STATUSES)
    assert counts.total() == 24
    assert counts["unreadable"] > 0
    reasons = [result.get("reason", "") for result in results.values() if result["status"] == "unreadable"]
    assert all(reason and "\n" not in reason for reason in reasons)
    assert not any("crashed" in reason or "not done" in reason for reason in reasons)
    clips = train_on(paths, sources, tmp_path, num_workers=0)
    assert clips["clips"] == 48
    assert clips["good ones unreadable"] == 0
    # Training decodes a part of each file, and so at most as many fail as in a check of all frames.
    assert 0 < clips["unreadable"] <= counts["unreadable"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("sources", type=Path, nargs="+", help="good videos")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    paths = write_mutants(options.sources, options.out / "mutants", options.count, options.seed)
    results = check([str(path) for path in paths], options.out, jobs=options.jobs, time_limit=60)
    counts = Counter(result["status"] for result in results.values())
    print(f"check: {dict(counts)}, in all {counts.total()} of {options.count}")
    for path, result in results.items():
        if "crashed" in result.get("reason", "") or "not done" in result.get("reason", ""):
            print(f"{path}: {result['reason']}")
    clips = train_on(paths, options.sources, options.out, options.jobs)
    print(f"training: {dict(clips)}")
    complete = counts.total() == options.count and clips["clips"] == 2 * options.count
    return 0 if complete and not clips["good ones unreadable"] else 1


if __name__ == "__main__":
    sys.exit(main())
