"""What of a .pt2 file torch is given to load: raw tensors, plain names and known operators, of bounded cost.

`torch.export.load` unpickles some payloads, evaluates size expressions and looks operators up by name (torch 2.14:
`torch/export/pt2_archive/_package.py`, `torch/_export/serde/serialize.py`). So a file is refused unless it holds what
`octvideo export` writes. What torch loads is not the file but a new one, written from what was checked: no other parser
has a say in it. A graph of known operators can still ask for all memory, or for years; so it is run without either.
"""

import json
import re
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from octvideo.models.archive import ArchiveError, pack, unpack
from octvideo.models.checkpoints import CheckpointError

CARD = "model_card.json"

# All that the networks of `octvideo.models` are made of.
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(_assert_tensor_metadata|_to_copy|adaptive_avg_pool[23]d|add_?|alias|arange|avg_pool[23]d"
    r"|batch_norm|bmm|cat|chunk|clone|contiguous|conv[23]d|detach_?|div|dropout|einsum|expand|flatten|index"
    r"|index_select|lift_fresh_copy|linear|linspace|log_sigmoid|log_softmax|logsumexp|matmul|max_pool[23]d|mean|movedim|mul|neg|permute"
    r"|relu_?|repeat_interleave|reshape|select|sigmoid|silu_?|slice|softmax|split|split_with_sizes|squeeze|sub|sum|sym_size"
    r"|to|transpose|unflatten|unsqueeze|upsample_bilinear2d|upsample_nearest2d|view)\.\w+"
)
_SIZE = re.compile(r"-?\d+|s\d+|Symbol\('s\d+', positive=True, integer=True\)")
_PLAIN = re.compile(r"[\w.+-]*")
_GRAPH, _SAMPLE = "models/model.json", "data/sample_inputs/model.pt"
_PAYLOADS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_MEMBER = re.compile(
    r"models/model\.json|extra/model_card\.json|archive_format|archive_version|byteorder|\.data/\w+"
    r"|data/sample_inputs/model\.pt|data/weights/(model_weights_config\.json|weight_\d+)"
    r"|data/constants/(model_constants_config\.json|tensor_\d+)"
)


def checked_pt2(content: bytes, file: Path) -> bytes:
    """A new archive of what is known to be harmless in a .pt2 file: raw tensors and a graph of known operators.

    Raises:
        CheckpointError: the file holds something else, too, or is not such a file.
    """
    try:
        members = unpack(content)
        _check_plain(members, file)
        strange = next((name for name in members if not _MEMBER.fullmatch(name)), None)
        if strange is not None:
            raise CheckpointError(f"{file}: refused, it holds {strange}")
        if members[_SAMPLE]:
            raise CheckpointError(f"{file}: refused, it holds pickled sample inputs")
        graph, *payloads = (json.loads(members[name]) for name in (_GRAPH, *_PAYLOADS))
        for payload in payloads:
            for name, entry in payload["config"].items():
                if entry["use_pickle"] is not False:
                    raise CheckpointError(
                        f"{file}: refused, {name} is pickled, which loading would have to execute"
                    )
        found = _unknown(graph)
        if found is not None:
            raise CheckpointError(f"{file}: refused, its graph holds {found[:80]!r}")
    except CheckpointError:
        raise
    except ArchiveError as error:
        raise CheckpointError(f"{file}: refused, it holds {error}") from error
    except Exception as error:  # what zip and JSON raise has nothing in common
        raise CheckpointError(f"{file}: not a .pt2 file of octvideo export, or a truncated one") from error
    # JSON, too, is written from what was checked: a name that comes twice has one value then.
    texts = dict(zip((_GRAPH, *_PAYLOADS), (graph, *payloads), strict=True))
    return pack({**members, **{name: json.dumps(value).encode() for name, value in texts.items()}})


def _unknown(value: Any, key: str = "") -> str | None:
    """The first thing in a graph's JSON that is no number, no plain name and no known operator."""
    if isinstance(value, dict):
        if key == "metadata" and value:
            return "metadata"
        for name, part in value.items():
            if not _PLAIN.fullmatch(name):
                return name
            if (found := _unknown(part, name)) is not None:
                return found
    elif isinstance(value, list):
        if key == "guards_code" and value:
            return str(value[0])
        for part in value:
            if (found := _unknown(part, key)) is not None:
                return found
    elif isinstance(value, str):
        if key == "target":
            return None if _OPERATOR.fullmatch(value) else value
        if key in ("in_spec", "out_spec"):
            return None if value in _SPECS else value
        pattern = _SIZE if key == "expr_str" else _PLAIN
        return None if pattern.fullmatch(value) else value
    return None


# One tensor in, one tensor out.
_SPECS = {pytree.treespec_dumps(pytree.tree_structure(tree)) for tree in [((0,), {}), 0]}


def _check_plain(members: Iterable[str], file: Path) -> None:
    """Raises CheckpointError for an archive of machine code."""
    if any("aotinductor" in name for name in members):
        raise CheckpointError(
            f"{file}: refused, it holds a compiled program, which loading would execute; if it is yours, "
            "torch._inductor.aoti_load_package does"
        )


# Of one clip; the networks here take less than a hundredth of each at the sizes that they are used at.
_MOST_BYTES = 2**33  # at a time
_MOST_WORK = 10**14  # additions, multiplications, and bytes written


class _Watched(fx.Interpreter):
    """Runs a graph, and keeps how much memory it takes at most and how much work it is.

    Attributes:
        largest: bytes of all tensors that are there at a time.
        work: bytes of all that are made, and what pools read; a counter of FLOPs has the rest.
    """

    largest = work = 0

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        made = sum(_bytes(value).values())
        self.largest = max(self.largest, sum(_bytes([self.env, value]).values()))
        self.work += made
        if "pool" in str(n.target):
            window: Any = n.args[1] if len(n.args) > 1 else 1
            self.work += made * prod(window if isinstance(window, Sequence) else [1])
        return value


def _bytes(values: Any) -> dict[int, int]:
    """Those of all tensors in it, by storage: views of one share it."""
    tensors = [part for part in pytree.tree_leaves(values) if isinstance(part, Tensor)]
    return {
        part.untyped_storage()._cdata: max(part.nbytes, part.untyped_storage().nbytes()) for part in tensors
    }


def check_cost(module: fx.GraphModule, clip: Sequence[int], file: Path) -> None:
    """Runs a graph on one clip, without memory or arithmetic: what it says of its sizes may lie.

    Args:
        clip: `(3, T, H, W)`.

    Raises:
        CheckpointError: it takes too much of either, or does not run.
    """
    run, flops, problem = _Watched(module), FlopCounterMode(display=False), None
    with FakeTensorMode(allow_non_fake_inputs=True), flops:
        try:
            run.run(torch.empty(1, *clip))
        except Exception as error:  # torch's operators raise what they like
            problem = error
    work = run.work + flops.get_total_flops()
    for found, most, what in (
        (run.largest, _MOST_BYTES, "bytes of memory"),
        (work, _MOST_WORK, "operations"),
    ):
        if found > most:
            raise CheckpointError(
                f"{file}: refused, its graph takes {found:.3g} {what} for one clip, at most {most:.3g} are allowed"
            )
    if problem is not None:
        raise CheckpointError(f"{file}: refused, its graph does not run") from problem
