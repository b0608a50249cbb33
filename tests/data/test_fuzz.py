"""Damaged copies of good videos: no hang, no crash, and every file is accounted for.

    python -m tests.data.test_fuzz VIDEOS --count 10000 --jobs 8 --out runs/fuzz

makes many more than the tests do, checks them and trains an epoch's clips over them.
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
from octvideo.data import KineticsDataModule, VideoDecodeError

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


def read_all(paths: Sequence[Path], folder: Path, num_workers: int) -> Counter[str]:
    """Takes a training clip of every file through the loader; counts what came of them."""
    manifest = folder / "mutants.csv"
    manifest.write_text("".join(f"{path.name} 0\n" for path in paths))
    data = KineticsDataModule(
        train_csv=str(manifest),
        root=str(paths[0].parent),
        num_frames=4,
        short_side=(64, 80),
        crop=64,
        batch_size=8,
        num_workers=num_workers,
        max_unreadable=1.0,
    )
    dataset = data.train_dataloader().dataset
    counts: Counter[str] = Counter()
    for video in range(len(paths)):
        try:
            item = dataset[video]
        except VideoDecodeError:
            counts["unreadable"] += 1
            continue
        counts["unreadable" if any(bad == video for bad, _ in item.get("replaced", ())) else "ok"] += 1
    try:
        for batch in data.train_dataloader():
            counts["clips"] += len(batch["video"])
    except VideoDecodeError:  # among mostly damaged files, ten others in a row can be as bad
        counts["stopped early"] += 1
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
    paths = write_mutants(sources, tmp_path / "mutants", 25)
    results = check([str(path) for path in paths], tmp_path, jobs=1, time_limit=30)
    counts = Counter(result["status"] for result in results.values())
    assert set(counts) <= set(STATUSES)
    assert counts.total() == 25
    assert counts["unreadable"] > 0
    reasons = [result.get("reason", "") for result in results.values() if result["status"] == "unreadable"]
    assert all(reason and "\n" not in reason for reason in reasons)
    assert not any("crashed" in reason or "not done" in reason for reason in reasons)
    clips = read_all(paths, tmp_path, num_workers=0)
    assert clips["ok"] + clips["unreadable"] == 25
    assert 25 - 8 < clips["clips"] <= 25


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
    print(f"training: {dict(read_all(paths, options.out, options.jobs))}")
    return 0 if counts.total() == options.count else 1


if __name__ == "__main__":
    sys.exit(main())
