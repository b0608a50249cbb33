"""A sweep over learning rate, weight decay and alpha: python docs/examples/sweep.py --config FILE [options of fit]"""

import argparse
import csv
import sys
from pathlib import Path

import optuna

from octvideo.cli import main

parser = argparse.ArgumentParser()
parser.add_argument("--folder", default="runs/sweep")
parser.add_argument("--trials", type=int, default=20)
ours, options = parser.parse_known_args()
folder = Path(ours.folder)
folder.mkdir(parents=True, exist_ok=True)


def best_top1(trial: optuna.Trial) -> float:
    run = folder / f"{trial.number:03d}"
    settings = {
        "trainer.default_root_dir": run,
        "model.lr": trial.suggest_float("lr", 1e-3, 0.3, log=True),
        "model.weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-3, log=True),
        "model.alpha": trial.suggest_categorical("alpha", [0.0, 0.125, 0.25, 0.5]),
    }
    if main(["fit", *options, *(f"--{name}={value}" for name, value in settings.items())]):
        raise optuna.TrialPruned  # octvideo has said why
    with (run / "metrics.csv").open(newline="") as file:
        return max(float(row["val/top1"]) for row in csv.DictReader(file) if row.get("val/top1"))


# In a file: a sweep that was stopped goes on.
study = optuna.create_study(
    direction="maximize", storage=f"sqlite:///{folder}/sweep.db", study_name="sweep", load_if_exists=True
)
study.optimize(best_top1, n_trials=ours.trials)
if not study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]):
    sys.exit(f"no trial has come to its end, of {len(study.trials)} in {folder}/sweep.db")
print(
    f"best val top-1 {study.best_value:.1%} with {study.best_params}, {folder}/{study.best_trial.number:03d}"
)
