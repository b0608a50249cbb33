"""Two processes on gloo, started by torchrun, against one process on their joint batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.runs import NUM_VIDEOS, same_weights, write_videos

SCRIPT = Path(__file__).with_name("two_processes.py")
CHECKOUT = Path(__file__).parents[2]
ONE_ALPHA, ALPHAS = "null", "[0, 0.25, 0.5]"


def train(processes: int, out: Path, *arguments: str) -> list[dict[str, list[int]]]:
    """The videos of each step, by process."""
    out.mkdir()
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), str(SCRIPT), str(out), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(processes)]


@pytest.mark.slow
def test_two_processes_are_one_with_their_joint_batch(tmp_path, make_video) -> None:
    csv = write_videos(tmp_path / "videos", make_video)
    make_video(csv.parent / "odd.mp4", num_frames=20, size=(40, 48), fps=15)
    csv.write_text(csv.read_text() + "odd.mp4 0\n")  # nine: one is left over
    (one,) = train(1, tmp_path / "one", str(csv), "4", ONE_ALPHA)
    first, second = train(2, tmp_path / "two", str(csv), "2", ONE_ALPHA)

    assert first.keys() == second.keys() == one.keys() == {str(step) for step in range(6)}  # no rank waits
    for step, videos in one.items():
        assert sorted(first[step] + second[step]) == sorted(videos)
    for epoch in range(3):
        seen = [video for rank in (first, second) for step in (0, 1) for video in rank[str(2 * epoch + step)]]
        assert len(seen) == len(set(seen)) == NUM_VIDEOS

    def read(run: str, name: str) -> dict[str, torch.Tensor]:
        return torch.load(tmp_path / run / name, weights_only=True)

    assert any(gradient.abs().max() > 1e-3 for gradient in read("one", "gradient.pt").values())
    same_weights(read("one", "gradient.pt"), read("two", "gradient.pt"), rtol=0, atol=1e-5)
    same_weights(read("one", "weights.pt"), read("two", "weights.pt"), rtol=0, atol=1e-5)

    # Resumed in the middle of the second epoch: the same steps, the same weights.
    checkpoint = tmp_path / "two" / "checkpoints" / "step-00000003.ckpt"
    resumed = train(2, tmp_path / "resumed", str(csv), "2", ONE_ALPHA, str(checkpoint))
    assert resumed == [{step: rank[step] for step in ("3", "4", "5")} for rank in (first, second)]
    same_weights(read("two", "weights.pt"), read("resumed", "weights.pt"))


@pytest.mark.slow
def test_two_processes_train_several_alphas_and_go_on_as_they_were(tmp_path, make_video) -> None:
    csv = write_videos(tmp_path / "videos", make_video)
    whole = train(2, tmp_path / "whole", str(csv), "2", ALPHAS)
    checkpoint = tmp_path / "whole" / "checkpoints" / "step-00000003.ckpt"
    resumed = train(2, tmp_path / "resumed", str(csv), "2", ALPHAS, str(checkpoint))
    assert resumed == [{step: rank[step] for step in ("3", "4", "5")} for rank in whole]
    same_weights(
        *(torch.load(tmp_path / run / "weights.pt", weights_only=True) for run in ("whole", "resumed"))
    )
    start, end = (
        torch.load(tmp_path / "whole" / "checkpoints" / f"step-0000000{step}.ckpt", weights_only=True)
        for step in (1, 6)
    )
    for alpha, statistics in end["norms_by_alpha"].items():
        moved = [
            name
            for name, value in statistics.items()
            if not torch.equal(value, start["norms_by_alpha"][alpha][name])
        ]
        assert any(name.endswith("running_mean") for name in moved), alpha
