"""Running an exported network: `.onnx` by onnxruntime, `.pt2` by torch.

Nothing in a file is executed but a graph of known tensor operations. An ONNX file cannot hold anything else.
`torch.export.load` could: it unpickles some payloads, evaluates size expressions and looks operators up by name
(torch 2.14: `torch/export/pt2_archive/_package.py`, `torch/_export/serde/serialize.py`). So a .pt2 file is checked
first, and refused unless it holds raw tensors, plain names and the operators below, as `octvideo export` writes it.
What torch loads is not the file but a new one, written from what was checked: no other parser has a say in it.
"""

import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch._subclasses import FakeTensorMode
from torch.export.passes import move_to_device_pass
from torch.utils import _pytree as pytree

from octvideo.card import EXPORT_FORMATS, Card
from octvideo.errors import MissingPackageError
from octvideo.models.archive import ArchiveError, pack, unpack
from octvideo.models.checkpoints import CheckpointError
from octvideo.models.table import read_card

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
# Of one tensor at one clip; those of the networks here have less than a hundredth of it.
_MAX_BYTES = 2**33
_GRAPH, _SAMPLE = "models/model.json", "data/sample_inputs/model.pt"
_PAYLOADS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_MEMBER = re.compile(
    r"models/model\.json|extra/model_card\.json|archive_format|archive_version|byteorder|\.data/\w+"
    r"|data/sample_inputs/model\.pt|data/weights/(model_weights_config\.json|weight_\d+)"
    r"|data/constants/(model_constants_config\.json|tensor_\d+)"
)


def load_exported(path: str | Path, content: bytes | None = None) -> tuple[nn.Module, Card]:
    """A network that `octvideo export` wrote, as a module from clips to logits, and its card.

    Args:
        path: the file.
        content: what `read_exported` gives of it; None reads it.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is not such a file.
        ImportError: onnxruntime is missing.
    """
    file = Path(path).expanduser().absolute()
    content = read_exported(file) if content is None else content
    network = OnnxNetwork(content, file) if file.suffix == ".onnx" else TorchNetwork(content, file)
    card = _card(network.card, file)
    for key, value in zip(("num_frames", "test_crop", "num_classes"), network.sizes, strict=True):
        if getattr(card, key) != value:
            raise CheckpointError(f"{file}: its card has {key} {getattr(card, key)}, its network {value}")
    return network, card


def exported_card(file: Path, content: bytes) -> Card:
    """The card alone, without the work of preparing the network to run; errors as `load_exported`'s."""
    if file.suffix == ".onnx":
        return _card(_card_in(_session(content, file, optimise=False)), file)
    try:
        members = unpack(content)
        _check_plain(members, file)
        return _card(members[f"extra/{CARD}"].decode(), file)
    except CheckpointError:
        raise
    except Exception as error:  # what zip and text raise has nothing in common
        raise CheckpointError(f"{file}: not a .pt2 file of octvideo export, or a truncated one") from error


def _check_plain(members: Iterable[str], file: Path) -> None:
    """Raises CheckpointError for an archive of machine code."""
    if any("aotinductor" in name for name in members):
        raise CheckpointError(
            f"{file}: refused, it holds a compiled program, which loading would execute; if it is yours, "
            "torch._inductor.aoti_load_package does"
        )


def read_exported(file: Path) -> bytes:
    """The bytes of such a file; errors as `load_exported`'s."""
    if file.suffix not in EXPORT_FORMATS:
        raise CheckpointError(
            f"{file}: not an exported network, whose name ends in {' or '.join(EXPORT_FORMATS)}"
        )
    if not file.is_file():
        raise FileNotFoundError(f"no exported network {file}")
    return file.read_bytes()


def _card(text: str, file: Path) -> Card:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or "num_classes" not in values:
        raise CheckpointError(f"{file}: has no model card, octvideo export did not write it")
    return read_card(values, file)


class OnnxNetwork(nn.Module):
    """`float (B, 3, T, H, W)` to logits `(B, num_classes)` by onnxruntime, on the device that the clip is on.

    That is the first GPU, where onnxruntime has its CUDA provider; of other devices, clips are taken to the CPU.
    """

    def __init__(self, content: bytes, file: Path) -> None:
        super().__init__()
        self._session = _session(content, file)
        try:
            clip, logits = self._session.get_inputs()[0], self._session.get_outputs()[0]
            self.sizes = _sizes(clip.shape, logits.shape)
        except (ValueError, TypeError, IndexError) as error:
            raise CheckpointError(f"{file}: its network takes or gives something else than ours") from error
        self.card = _card_in(self._session)
        self._names = clip.name, logits.name
        self._on_gpu = _CUDA in self._session.get_providers()

    def forward(self, clip: Tensor) -> Tensor:
        here = clip.device.type == "cpu" or (self._on_gpu and clip.device == torch.device("cuda", 0))
        x = clip.detach().float().to(clip.device if here else "cpu").contiguous()
        logits = x.new_empty(len(x), self.sizes[2])
        # Its own tensors are lent, so that nothing is copied, nor leaves a GPU.
        binding = self._session.io_binding()
        for bind, name, tensor in zip(
            (binding.bind_input, binding.bind_output), self._names, (x, logits), strict=True
        ):
            bind(name, tensor.device.type, 0, np.float32, tuple(tensor.shape), tensor.data_ptr())
        if x.is_cuda:  # onnxruntime has a stream of its own
            torch.cuda.current_stream().synchronize()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return logits.to(clip.device)


_CUDA = "CUDAExecutionProvider"


def _providers(available: Sequence[str]) -> list[Any]:
    """What a session computes with, the best first; 32 bits are 32 bits on a GPU, too."""
    gpu = [(_CUDA, {"use_tf32": "0"})] if _CUDA in available and torch.cuda.is_available() else []
    return [*gpu, "CPUExecutionProvider"]


def _session(content: bytes, file: Path, *, optimise: bool = True) -> Any:
    """onnxruntime's, from memory: a file could name others beside it to read weights from."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingPackageError(
            f"{file}: running it needs onnxruntime: pip install 'octvideo[export]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        providers = _providers(onnxruntime.get_available_providers())
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # onnxruntime's own classes have no common base but this
        raise CheckpointError(f"{file}: not an ONNX file that onnxruntime can run") from error


def _card_in(session: Any) -> str:
    return session.get_modelmeta().custom_metadata_map.get(Path(CARD).stem, "")


class TorchNetwork(nn.Module):
    """`float (B, 3, T, H, W)` to logits `(B, num_classes)`, on the device that the clip is on."""

    def __init__(self, content: bytes, file: Path) -> None:
        super().__init__()
        checked = io.BytesIO(checked_pt2(content, file))
        extra = {CARD: ""}
        try:
            self._program = torch.export.load(checked, extra_files=extra)
            nodes = {node.name: node for node in self._program.graph.nodes}
            signature = self._program.graph_signature
            clip, logits = nodes[signature.user_inputs[0]], nodes[signature.user_outputs[0]]
            self.sizes = _sizes(clip.meta["val"].shape, logits.meta["val"].shape)
        except Exception as error:  # of another version of torch, say
            raise CheckpointError(f"{file}: torch {torch.__version__} cannot load it") from error
        self.card = extra[CARD]
        self._device = torch.device("cpu")
        # In a list, so that its weights are nobody's parameters.
        self._module = [self._program.module()]
        _check_memory(self._module[0], clip.meta["val"].shape, file)

    def forward(self, clip: Tensor) -> Tensor:
        if clip.device != self._device:
            self._program = move_to_device_pass(self._program, clip.device)
            self._module, self._device = [self._program.module()], clip.device
        return self._module[0](clip.float().contiguous())


class _Watched(fx.Interpreter):
    """Runs a graph and keeps the bytes of the largest tensor in it."""

    largest = 0

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        tensors = [part for part in pytree.tree_leaves(value) if isinstance(part, Tensor)]
        self.largest = max(self.largest, *(part.nbytes for part in tensors), 0)
        return value


def _check_memory(module: fx.GraphModule, clip: Sequence[Any], file: Path) -> None:
    """Run a graph on one clip without memory: what it says of its sizes may lie."""
    run = _Watched(module)
    problem = None
    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            run.run(torch.empty(1, *(int(size) for size in clip[1:])))
        except Exception as error:  # torch's operators raise what they like
            problem = error
    if run.largest > _MAX_BYTES:
        raise CheckpointError(
            f"{file}: refused, its graph makes a tensor of {run.largest / 2**30:.3g} GB of one clip; "
            f"at most {_MAX_BYTES / 2**30:.3g} GB are allowed"
        )
    if problem is not None:
        raise CheckpointError(f"{file}: refused, its graph does not run") from problem


def _sizes(clip: Sequence[Any], logits: Sequence[Any]) -> tuple[int, int, int]:
    """Frames and height of the clips that a graph takes, and how many logits it gives."""
    (_, _, num_frames, height, _), (_, num_classes) = clip, logits
    return int(num_frames), int(height), int(num_classes)


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
