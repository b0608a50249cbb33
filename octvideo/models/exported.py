"""Running an exported network: `.onnx` by onnxruntime, `.pt2` by torch.

Nothing in a file is executed but a graph of known tensor operations. An ONNX file cannot hold anything else; a .pt2
file could, and is checked before torch sees it (`octvideo.models.checked`).
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from octvideo.card import EXPORT_FORMATS, Card
from octvideo.errors import MissingPackageError
from octvideo.models.checked import CARD, check_cost, checked_pt2
from octvideo.models.checkpoints import CheckpointError
from octvideo.models.table import read_card


def load_exported(path: str | Path) -> tuple[nn.Module, Card]:
    """A network that `octvideo export` wrote, as a module from clips to logits, and its card.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is not such a file.
        ImportError: onnxruntime is missing.
    """
    file = Path(path).expanduser().absolute()
    content = _read(file)
    network = OnnxNetwork(content, file) if file.suffix == ".onnx" else TorchNetwork(content, file)
    card = _card(network.card, file)
    for key, value in zip(("num_frames", "test_crop", "num_classes"), network.sizes, strict=True):
        if getattr(card, key) != value:
            raise CheckpointError(f"{file}: its card has {key} {getattr(card, key)}, its network {value}")
    return network, card


def _read(file: Path) -> bytes:
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
        self.card = self._session.get_modelmeta().custom_metadata_map.get(Path(CARD).stem, "")
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


def _session(content: bytes, file: Path) -> Any:
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
    try:
        providers = _providers(onnxruntime.get_available_providers())
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # onnxruntime's own classes have no common base but this
        raise CheckpointError(f"{file}: not an ONNX file that onnxruntime can run") from error


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
        check_cost(self._module[0], tuple(int(size) for size in clip.meta["val"].shape[1:]), file)

    def forward(self, clip: Tensor) -> Tensor:
        if clip.device != self._device:
            self._program = move_to_device_pass(self._program, clip.device)
            self._module, self._device = [self._program.module()], clip.device
        return self._module[0](clip.float().contiguous())


def _sizes(clip: Sequence[Any], logits: Sequence[Any]) -> tuple[int, int, int]:
    """Frames and height of the clips that a graph takes, and how many logits it gives."""
    (_, _, num_frames, height, _), (_, num_classes) = clip, logits
    return int(num_frames), int(height), int(num_classes)
