"""Networks at their best: CUDA graphs, torch.compile, and both. The parts of most value first."""

from functools import partial

from benchmarks.gpu.lab import Lab
from benchmarks.gpu.speed import compare, ours, parts

# Mode and clips. A compiled network is compiled for one number of clips: minutes for each line but the recorded ones.
WAYS = {
    "inference": (
        ("graphs", 1),
        ("graphs", 8),
        ("compiled", 32),
        ("compiled_graphs", 1),
        ("compiled_graphs", 8),
    ),
    "training": (("graphs", 8), ("compiled", 32)),
}


def way(lab: Lab, *, task: str, mode: str, clips: int) -> None:
    """Dense beside alpha .25 and .5; in training, where three compilations would take too long, .25 alone."""
    candidates = ours(lab)[:2] if task == "training" and mode == "compiled" else ours(lab)
    compare(lab, candidates, task=task, mode=mode, clips=clips, rounds=lab.pick(15, 2))


def ways(task: str) -> dict[str, object]:
    return {
        f"{mode.replace('_', ' ')}, {clips} clips": partial(way, task=task, mode=mode, clips=clips)
        for mode, clips in WAYS[task]
    }


PARTS = {task: parts(ways(task)) for task in WAYS}
