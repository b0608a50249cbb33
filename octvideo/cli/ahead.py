"""What can be said of a command line before torch is imported: most mistakes, which should not wait for seconds.

The options are read out of the source of the classes that they build. All of it is checked again by whoever uses it;
what is beyond this module (classes named on the command line, files within files) passes, and is left to them.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from octvideo.cli.claim import check_unused, run_folder
from octvideo.cli.configurations import files_of, read
from octvideo.cli.errors import UsageError
from octvideo.cli.models_table import check_name
from octvideo.cli.options import NUMBERS, OPTIONS, check_trainer
from octvideo.cli.signatures import parameters
from octvideo.cli.weights import check_file, check_weights, no_checkpoint
from octvideo.data.manifest import find_videos, read_class_list, read_manifest
from octvideo.errors import InputError
from octvideo.limits import check_numbers
from octvideo.training.settings import check_settings

GROUPS = {
    "trainer": ("lightning/pytorch/trainer/trainer.py", "Trainer"),
    "model": ("octvideo/classifier.py", "VideoClassifier"),
    "data": ("octvideo/data/datamodule.py", "KineticsDataModule"),
    "data.augment": ("octvideo/data/augment.py", "Augmentation"),
    "checkpoint": ("octvideo/training/checkpoint.py", "RunCheckpoint"),
}
LISTS = {"fit": "train_csv", "validate": "val_csv", "test": "test_csv", "predict": "predict_paths"}
_SMALL_BYTES = 2**20  # a longer list takes longer to read than torch to import


def option_parser(command: str) -> ArgumentParser:
    """A parser with the options of `octvideo fit|validate|test|predict`, which builds nothing."""
    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_argument(
        "-c", "--config", action=ActionConfigFile, help="a configuration file; several add up"
    )
    parser.add_argument("--seed_everything", type=bool | int, default=0, help="of all random numbers")
    for group, (file, name) in GROUPS.items():
        for one in parameters(file, name):
            if f"{group}.{one.name}" not in GROUPS:
                option = f"--{group}.{one.name}"
                parser.add_argument(option, type=one.kind, default=one.default, help=one.text or None)
    for name, kind, default, text in OPTIONS.get(command, ()):
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)
    parser.add_argument("--ckpt_path", type=str | None, default=None, help="a checkpoint, or best, or last")
    return parser


def check(command: str, args: Sequence[str]) -> None:
    """Raises what running the command would raise after some seconds.

    Raises:
        jsonargparse.ArgumentError, OctvideoError, OSError: what was asked cannot be done.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) or _is_beyond(args):  # the first process has looked
        return
    parser = option_parser(command)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other parser says it
        config = parser.parse_args(list(args))
    check_trainer(command, config.trainer)
    check_numbers({name: config.get(name) for name in NUMBERS}, prefix="--")
    check_numbers(vars(config.model), prefix="model.")
    no_classes = (
        {"num_classes"} if config.data.num_classes is None else set()
    )  # the class list's, or the model's
    check_numbers({k: v for k, v in vars(config.data).items() if k not in no_classes}, prefix="data.")
    check_settings(vars(config.model))
    check_name(config.model.name)
    _check_weights(command, config)
    _check_lists(command, config)
    if command == "fit" and config.ckpt_path is None and not config.trainer.fast_dev_run:
        folder = run_folder(config.trainer.default_root_dir, config.model.name)
        checkpoints = Path(config.checkpoint.dirpath or folder / "checkpoints")
        check_unused(folder, checkpoints, goes_on_from=None, asked_for_last=False)


def _is_beyond(args: Sequence[str]) -> bool:
    """Whether a command line holds what this module's parser does not know: classes, files of groups, printing."""
    names = {arg.partition("=")[0] for arg in args if arg.startswith("--")}
    whole = {f"--{group}" for group in GROUPS}
    if any(
        name in whole or name.endswith(("+", ".help")) or name.startswith("--print_config") for name in names
    ):
        return True
    if any("class_path" in arg or "init_args" in arg for arg in args):
        return True
    return _names_class(read(files_of(args)))


def _names_class(config: Mapping[str, Any]) -> bool:
    return any("class_path" in value for value in config.values() if isinstance(value, dict))


def _check_weights(command: str, config: Namespace) -> None:
    if exported := config.get("exported"):
        check_file(exported, "exported network")
    elif config.ckpt_path in ("best", "last"):
        return
    elif config.ckpt_path is not None:
        check_weights(config.ckpt_path)
    elif command != "fit" and not config.model.checkpoint:
        raise no_checkpoint(command)
    else:
        for file in (config.model.checkpoint, config.model.image_checkpoint):
            if file:
                check_weights(file)


def _check_lists(command: str, config: Namespace) -> None:
    data = config.data
    names = read_class_list(data.class_list) if data.class_list else None
    if names and data.num_classes not in (None, len(names)):
        raise InputError(
            f"num_classes is {data.num_classes}, allowed is the length of {data.class_list}, {len(names)}"
        )
    rules = {"root": data.root, "missing": data.missing, "allow_outside_root": data.allow_outside_root}
    # Whether labels are of one class or of several, a trained network's card says: here both are taken.
    either = not any("|" in name for name in names or ())
    rules["multi_label"] = config.model.multi_label if command == "fit" else either
    if getattr(data, LISTS[command]) is None:
        raise UsageError(f"data.{LISTS[command]} is none, octvideo {command} needs it")
    if command == "predict":
        sources = [data.predict_paths] if isinstance(data.predict_paths, str) else data.predict_paths
        check_videos(sources, class_names=names, **rules)
        return
    for list_name in ("train_csv", "val_csv") if command == "fit" else (LISTS[command],):
        file = getattr(data, list_name)
        if file is not None and _is_small(file):
            read_manifest(file, class_names=names, **rules)


def check_videos(sources: Sequence[str], **rules: Any) -> None:
    """Raises what `find_videos` raises with these rules; long lists are left to whoever reads them."""
    if all(_is_small(source) for source in sources):
        find_videos(sources, **rules)


def _is_small(name: str) -> bool:
    """Whether a list is worth reading here; one that is not there is, too."""
    file = Path(name).expanduser()
    return (
        not file.is_file()
        or file.stat().st_size <= _SMALL_BYTES
        or file.suffix.lower() not in (".csv", ".txt")
    )
