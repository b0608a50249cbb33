"""What is wrong with a configuration file or the trainer's options, before anything is built of them.

Lightning takes some of these without a word (nothing is trained, nothing is scored), or dies of them much later.
"""

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml

from octvideo.cli.errors import UsageError
from octvideo.limits import Limits, check_numbers

_MOST_BYTES = 2**20
_MOST_VALUES = 100_000

_COUNT = Limits(1, whole=True, or_none=True)
_TRAINER: dict[str, Limits] = {
    "max_epochs": _COUNT,
    "max_steps": _COUNT,
    "accumulate_grad_batches": _COUNT,
    "check_val_every_n_epoch": _COUNT,
    "num_nodes": _COUNT,
    "log_every_n_steps": Limits(0, whole=True, or_none=True),
    "num_sanity_val_steps": Limits(-1, whole=True, or_none=True),
    "gradient_clip_val": Limits(0, or_none=True),
}
_UNLIMITED = -1  # which Lightning has for these two
_STAGES = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}


def check_config_files(args: Sequence[str]) -> None:
    """Raises UsageError for a configuration on the command line that is no small file of YAML.

    Raises:
        FileNotFoundError: it is not there.
    """
    named = [value for option, value in pairwise(args) if option in ("-c", "--config")]
    named += [arg.partition("=")[2] for arg in args if arg.startswith("--config=")]
    for file in (Path(name).expanduser().absolute() for name in named):
        if not file.is_file():
            raise FileNotFoundError(f"no configuration file {file}")
        _check_yaml(file)


def _check_yaml(file: Path) -> None:
    if file.stat().st_size > _MOST_BYTES:
        raise UsageError(f"{file} has {file.stat().st_size} bytes, a configuration at most {_MOST_BYTES}")
    try:
        root = yaml.compose(file.read_bytes().decode(), Loader=yaml.SafeLoader)
        size = _size(root, {})
    except RecursionError:
        raise UsageError(f"{file} is nested too deeply for a configuration") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f"{file}:{line + 1}" if line is not None else str(file)
        raise UsageError(f"{where}: no YAML, which a configuration is") from None
    if size > _MOST_VALUES:
        raise UsageError(f"{file} stands for more than {_MOST_VALUES} values once its aliases are resolved")
    if not isinstance(root, yaml.MappingNode | None):
        raise UsageError(f"{file}: no configuration, which has a name before each value")


def _size(node: yaml.Node | None, known: dict[int, int]) -> int:
    """Values below a node, those of an alias as often as it occurs; nodes are shared, so each is counted once."""
    if id(node) not in known:
        known[id(node)] = _MOST_VALUES + 1  # what is met again below itself has no end
        parts: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def check_trainer(command: str, trainer: Mapping[str, Any]) -> None:
    """Raises InputError for a setting of the trainer that no run can mean, UsageError for processes without a core."""
    unlimited = {name for name in ("max_epochs", "max_steps") if trainer.get(name) == _UNLIMITED}
    given = {name: trainer.get(name) for name in _TRAINER if name not in unlimited}
    check_numbers(given, prefix="trainer.", limits=_TRAINER)
    if not trainer.get("fast_dev_run"):
        name = f"limit_{_STAGES[command]}_batches"
        allowed = Limits(0, above=True, or_none=True)
        check_numbers({name: trainer.get(name)}, prefix="trainer.", limits={name: allowed})
    on_cpu = trainer.get("accelerator") == "cpu" or not torch.cuda.is_available()
    devices, cores = str(trainer.get("devices")), os.cpu_count() or 1
    if on_cpu and devices.isdigit() and not 1 <= int(devices) <= cores:
        raise UsageError(
            f"trainer.devices is {devices}, allowed are 1 to {cores} processes on this machine's CPU"
        )
