"""configs/train.sbatch with stand-ins for SLURM's commands: what it starts, and when it asks to be queued again."""

import os
import subprocess
from pathlib import Path

import pytest

SBATCH = Path(__file__).parents[2] / "configs" / "train.sbatch"


def run(tmp_path: Path, exit_code: int, *arguments: str) -> tuple[subprocess.CompletedProcess, list[str]]:
    log = tmp_path / "log"
    log.touch()
    for name, code in (("srun", exit_code), ("scontrol", 0)):
        file = tmp_path / name
        file.write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\nexit {code}\n')
        file.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_NTASKS_PER_NODE": "8",
    }
    done = subprocess.run(
        ["bash", str(SBATCH), *arguments], env=environment, capture_output=True, text=True, timeout=20
    )
    return done, log.read_text().splitlines()


@pytest.mark.parametrize(
    ("code", "queued_again"), [(0, False), (1, False), (2, False), (138, True), (143, True)]
)
def test_only_a_stopped_training_is_queued_again(tmp_path: Path, code: int, queued_again: bool) -> None:
    done, calls = run(tmp_path, code, "my.yaml", "--data.root", "/my videos")
    assert done.returncode == code
    assert calls[0] == (
        "srun --wait=300 octvideo fit --config my.yaml --ckpt_path last --trainer.num_nodes 2 --trainer.devices 8 "
        "--data.root /my videos"
    )
    assert calls[1:] == (["scontrol requeue 4711"] if queued_again else [])


def test_it_needs_a_configuration(tmp_path: Path) -> None:
    done, calls = run(tmp_path, 0)
    assert done.returncode != 0
    assert "a configuration is needed" in done.stderr
    assert not calls
