"""Configuration files: found by their name in the package too, and looked at before anything is built of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from octvideo.cli.errors import UsageError

SHIPPED = Path(__file__).parents[1] / "configs"
_MOST_BYTES = 2**20
_MOST_VALUES = 100_000


def settled(args: Sequence[str]) -> list[str]:
    """The arguments, each configuration among them as the path of a small file of YAML.

    `--config kinetics400/oct_i3d_r50` is the package's file of that name where there is no other of it.

    Raises:
        FileNotFoundError: it is not there.
        UsageError: it is no configuration.
    """
    out = list(args)
    for place, name in _named(args):
        file = _found(name)
        _check_yaml(file)
        if str(file) != name:
            out[place] = f"--config={file}" if out[place].startswith("--config=") else str(file)
    return out


def files_of(args: Sequence[str]) -> list[Path]:
    """The configurations of a command line, in order; a later one's values win."""
    return [Path(name).expanduser() for _, name in _named(args)]


def read(files: Sequence[Path]) -> dict[str, Any]:
    """What several say together, group by group: `{"model": {...}, "data": {...}, "trainer": {...}, ...}`."""
    together: dict[str, Any] = {}
    for file in files:
        for name, value in (yaml.safe_load(file.read_bytes()) or {}).items():
            known = together.get(name)
            if isinstance(value, dict) and isinstance(known, dict):
                value = {**known, **value}
            together[name] = value
    return together


def _named(args: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Place and value of each option that names a configuration."""
    for place, arg in enumerate(args):
        if arg.startswith("--config="):
            yield place, arg.partition("=")[2]
        elif place and args[place - 1] in ("-c", "--config"):
            yield place, arg


def _found(name: str) -> Path:
    file = Path(name).expanduser()
    if file.is_file():
        return file
    if not file.is_absolute() and ".." not in file.parts:
        inside = SHIPPED.joinpath(*file.parts[file.parts[:1] == ("configs",) :])
        for shipped in (inside, inside.with_name(f"{inside.name}.yaml")):
            if shipped.is_file():
                return shipped
    raise FileNotFoundError(f"no configuration file {file.absolute()}, and none of octvideo's has this name")


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
