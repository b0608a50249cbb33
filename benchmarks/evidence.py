"""Dense against octave on the demo data set, three seeds each. `python -m benchmarks.evidence`

Three questions, one recipe (configs/demo.yaml, in which no validation chooses a checkpoint: the last one is tested):

1. From scratch: what does the octave ratio cost or give in accuracy, for how many multiply-adds and how much time?
2. From a dense checkpoint of that data set: how good is its octave twin at once, and after a short fine-tuning?
3. One checkpoint at every alpha: how good is each beside a network of its own, for how much time; and two as a cascade?

Finished runs are kept in runs/evidence and skipped, so the command can be stopped and typed again. What is known so
far is written after every run: benchmarks/results/evidence.json, docs/evidence.md and docs/images/evidence.png.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.evidence_report import RESULTS, write_report
from data_prep.motions.__main__ import main as render_motions
from octvideo.files import replace_file

CHECKOUT = Path(__file__).resolve().parents[1]
CONFIG, DATA = "configs/demo.yaml", "runs/demo/data"
RUNS, RECORD = Path("runs/evidence"), "evidence.json"
EPOCHS, LR, SEEDS = 14, 0.05, 3  # the recipe's epochs and learning rate
ALPHAS = (0.0, 0.125, 0.25, 0.5)
CONFIDENCE = 0.9  # of the cascade
ROUNDS = 25  # of the clips that are timed
TUNED_ALPHA, SHORT = 0.25, (1, 5)  # fine-tuning: the octave ratio, and after how many epochs


@dataclass(frozen=True)
class Run:
    """One training, or none, and its test.

    Attributes:
        kind: "scratch"; "thrice", the same with three times the learning rate; "twin", a dense checkpoint run at
            another alpha; "tuned", a fine-tuning of it; "every", one checkpoint at every alpha, or a test of it;
            "cascade", a test of it at the largest alpha and again, dense.
        epochs: of this training; 0 tests the dense checkpoint as it is.
        of: epochs of the training that the others start from.
    """

    kind: str
    alpha: float
    seed: int
    epochs: int
    of: int = 0

    @property
    def name(self) -> str:
        start = f"_of{self.of}" if self.of else ""
        return f"{self.kind}{start}_a{self.alpha:g}_e{self.epochs}_s{self.seed}"

    @property
    def folder(self) -> Path:
        return RUNS / self.name

    @property
    def start(self) -> Run:
        """The training it starts from: the dense one, or that of every alpha."""
        of_every = self.kind in ("every", "cascade")
        return Run("every" if of_every else "scratch", 0.0, self.seed, self.of)

    @property
    def checkpoint(self) -> Path:
        return (self if self.epochs else self.start).folder / "checkpoints" / "last.ckpt"


def plan(epochs: int, seeds: int) -> Iterator[Run]:
    """Every run: first those from scratch, a seed at a time, so that whatever has finished can be compared."""
    for seed in range(seeds):
        yield from (Run("scratch", alpha, seed, epochs) for alpha in ALPHAS)
    for seed in range(seeds):
        yield from (Run("twin", alpha, seed, 0, of=epochs) for alpha in ALPHAS if alpha)
        for short in SHORT:
            yield Run("tuned", TUNED_ALPHA, seed, short, of=epochs)
            yield Run("scratch", TUNED_ALPHA, seed, short)
    for seed in range(seeds):
        # The losses of three alphas add up, which is much like a learning rate that is three times as large.
        yield from (Run("thrice", alpha, seed, epochs) for alpha in ALPHAS)
        yield Run("every", 0.0, seed, epochs)
        yield from (Run("every", alpha, seed, 0, of=epochs) for alpha in ALPHAS if alpha)
        yield Run("cascade", 0.0, seed, 0, of=epochs)


@dataclass(frozen=True)
class Way:
    """How the processes run: torch's threads, decoding processes, and a command before each (`srun`, `nice`)."""

    threads: int = 2
    workers: int = 2
    prefix: tuple[str, ...] = ()


def fit_arguments(run: Run) -> list[str]:
    """What follows `octvideo`, to train it. A short training has the recipe's warm-up in proportion."""
    arguments = ["fit", "--config", CONFIG, "--seed_everything", str(run.seed)]
    arguments += ["--model.alpha", str(run.alpha), "--trainer.max_epochs", str(run.epochs)]
    arguments += ["--trainer.limit_val_batches", "0", "--trainer.enable_progress_bar", "false"]
    arguments += ["--trainer.default_root_dir", str(run.folder)]
    if run.kind == "every":
        arguments += ["--model.alphas", json.dumps(ALPHAS)]
    if run.kind == "tuned":  # weights that are good already: a fifth of the learning rate, no warm-up
        arguments += ["--model.checkpoint", str(run.start.checkpoint)]
        return [*arguments, "--model.lr", str(LR / 5), "--model.warmup_epochs", "0"]
    if run.kind == "thrice":
        arguments += ["--model.lr", f"{3 * LR:g}"]
    return [*arguments, "--model.warmup_epochs", str(round(2 * run.epochs / EPOCHS, 3))]


def test_arguments(run: Run) -> list[str]:
    arguments = ["test", "--config", CONFIG, "--ckpt_path", str(run.checkpoint)]
    arguments += ["--model.alpha", str(run.alpha), "--trainer.enable_progress_bar", "false"]
    if run.kind == "cascade":
        arguments += ["--cascade", str(CONFIDENCE)]
    return [*arguments, "--trainer.default_root_dir", str(run.folder)]


def execute(run: Run, way: Way) -> dict[str, Any]:
    """Trains and tests it, or reads what was found before."""
    record = run.folder / RECORD
    if record.is_file():
        return json.loads(record.read_text())
    wall = cpu = 0.0
    if run.epochs:
        shutil.rmtree(run.folder, ignore_errors=True)  # of an interrupted one, whose seconds are not known
        wall, cpu = _octvideo(fit_arguments(run), way)
    _octvideo(test_arguments(run), way)
    metrics = json.loads((run.folder / "metrics.json").read_text())
    found = {
        **asdict(run),
        **{key: metrics[key] for key in ("top1", "gflops", "parameters", "videos_scored")},
        "fit_wall_seconds": round(wall, 1),
        "fit_cpu_seconds": round(cpu, 1),
    }
    if run.kind == "cascade":
        found |= metrics["cascade"]
    replace_file(record, lambda out: out.write(json.dumps(found, indent=2) + "\n"))
    return found


def keep(runs: Sequence[Run]) -> None:
    """Takes the results of runs that were not done here from the results file, where it has them."""
    known = json.loads(Path(RESULTS).read_text())["runs"]
    for run in runs:
        record = run.folder / RECORD
        found = [one for one in known if {**one, **asdict(run)} == one]
        if found and not record.is_file():
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps(found[0], indent=2) + "\n")


def clip_times(threads: int) -> dict[str, float]:
    """Milliseconds of processor time that a clip takes at each alpha; measured once, and kept."""
    record = RUNS / "milliseconds.json"
    if not record.is_file():
        import torch

        from octvideo.bench.alphas import clip_milliseconds
        from octvideo.bench.model import Setting, networks
        from octvideo.models import optimize

        torch.set_num_threads(threads)
        tiny = networks(Setting("i3d_tiny", [alpha for alpha in ALPHAS if alpha], 1, None, None, "cpu", 1))
        evaluated = {alpha: optimize(network.eval()) for alpha, network in tiny.items()}
        found = clip_milliseconds(evaluated, (8, 64, 64), rounds=ROUNDS, clock=time.process_time)
        record.write_text(json.dumps({f"{alpha:g}": round(taken, 2) for alpha, taken in found.items()}))
    return json.loads(record.read_text())


def _octvideo(arguments: Sequence[str], way: Way) -> tuple[float, float]:
    """Runs the command in a process of its own; its seconds on the clock, and of processor with its workers."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(way.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": str(CHECKOUT),
    }
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [*way.prefix, sys.executable, "-m", "octvideo", *arguments]
    subprocess.run([*command, "--data.num_workers", str(way.workers)], env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what has not been run; returns 0, or 1 when a run fails."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence",
        description="Dense against octave on the demo data set: accuracy, FLOPs, time, fine-tuning.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of a full training")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of each kind")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--workers", type=int, default=2, help="decoding processes")
    parser.add_argument(
        "--prefix", default="", help="a command put before each training and test, such as srun"
    )
    parser.add_argument("--report-only", action="store_true", help="run nothing; write what is known")
    parser.add_argument("--keep", action="store_true", help=f"take results that {RESULTS} has from there")
    arguments = parser.parse_args(argv)
    way = Way(arguments.threads, arguments.workers, tuple(shlex.split(arguments.prefix)))
    os.chdir(CHECKOUT)  # the configuration's paths start there
    if not arguments.report_only and (code := render_motions([DATA])):
        return code
    runs = list(plan(arguments.epochs, arguments.seeds))
    if arguments.keep:
        keep(runs)
    for number, run in enumerate([] if arguments.report_only else runs, start=1):
        print(f"[{number}/{len(runs)}] {run.name} {time.strftime('%H:%M:%S')}", flush=True)
        try:
            execute(run, way)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"benchmarks.evidence: {error}", file=sys.stderr)
            return 1
        report(arguments, runs, way)
    report(arguments, runs, way)
    return 0


def report(arguments: argparse.Namespace, runs: Sequence[Run], way: Way) -> None:
    """Writes what the finished runs found."""
    found = [execute(run, way) for run in runs if (run.folder / RECORD).is_file()]
    settings: dict[str, Any] = {"epochs": arguments.epochs, "seeds": arguments.seeds, "planned": len(runs)}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch with {way.threads} thread(s)"
    if any(run["kind"] in ("every", "cascade") for run in found):
        settings["milliseconds"] = clip_times(way.threads)
    if found:
        write_report(CHECKOUT, {**settings, "machine": machine, "runs": found})


if __name__ == "__main__":
    sys.exit(main())
