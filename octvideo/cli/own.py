"""A run that was overridden on the command line is scored as it was trained, if the same configuration is named again.

`octvideo fit --config FILE --model.alpha 0.5` trains what FILE does not say; `config.yaml` in the run folder does.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from octvideo.cli.claim import run_folder
from octvideo.cli.configurations import files_of, read
from octvideo.limits import RECIPE

# What makes a network and its pixels: values out of a configuration would win over the checkpoint's.
_KEYS = {"model": ("name", "alpha", "channel_multiple", "layer_alphas", "num_classes"), "data": tuple(RECIPE)}


def as_trained(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options that put the run's own values in the place of a training configuration's.

    Args:
        args: of `octvideo validate|test|predict`; options given there are left alone.

    Returns:
        The arguments, and a line to say for each value.
    """
    files = files_of(args)
    said = read(files)
    own = _run_folder(args, said) / "config.yaml"
    if "train_csv" not in (said.get("data") or {}) or not own.is_file() or own in map(Path.absolute, files):
        return list(args), []
    trained = read([own])
    options, notes = [], []
    for group, names in _KEYS.items():
        theirs, ours = said.get(group) or {}, trained.get(group) or {}
        for name in names:
            option = f"--{group}.{name}"
            given = any(arg.partition("=")[0] == option for arg in args)
            if name in theirs and name in ours and theirs[name] != ours[name] and not given:
                options.append(f"{option}={json.dumps(ours[name])}")
                notes.append(
                    f"note: {group}.{name} is {ours[name]}, as {own} has it; {files[-1]} says {theirs[name]}"
                )
    return [*args, *options], notes


def _run_folder(args: Sequence[str], said: dict[str, Any]) -> Path:
    """That of the checkpoint, where it lies in one; else the one that is named."""
    checkpoint = Path(_value(args, "--ckpt_path") or "best")
    if checkpoint.parent.name == "checkpoints":
        return checkpoint.parent.parent.absolute()
    trainer, model = said.get("trainer") or {}, said.get("model") or {}
    folder = _value(args, "--trainer.default_root_dir") or trainer.get("default_root_dir")
    return run_folder(folder, str(model.get("name"))).absolute()


def _value(args: Sequence[str], option: str) -> str | None:
    found = None
    for place, arg in enumerate(args):
        if arg.startswith(f"{option}="):
            found = arg.partition("=")[2]
        elif place and args[place - 1] == option:
            found = arg
    return found
