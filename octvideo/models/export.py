"""Writing a network as one file that needs none of this package: ONNX, or torch's own export format.

The file takes one normalised clip tensor `clip`, `float32 (B, 3, T, H, W)` with any B, and gives `logits`,
`float32 (B, num_classes)`. The weights are inside, and so is the model card (JSON): in an ONNX file as the metadata
`model_card`, in a .pt2 file as the extra file `model_card.json`. `octvideo.models.exported` reads both.
"""

import copy
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from octvideo.card import EXPORT_FORMATS, Card
from octvideo.errors import InputError, MissingPackageError
from octvideo.files import replacing
from octvideo.models.checked import CARD
from octvideo.models.exported import load_exported
from octvideo.models.optimize import fold_norms

# A larger difference than this, relative to the largest logit, is no rounding.
TOLERANCE = 1e-3


class ExportError(InputError):
    """A network that cannot be written, or a written one that computes something else; one line."""


def export_network(
    network: nn.Module, file: str | Path, *, input_shape: tuple[int, int, int], card: Card
) -> float:
    """Writes a network, reads the file back and compares it with the network.

    Args:
        network: of `octvideo.models`, dense or octave; it is not changed.
        file: ends in `.onnx` (needs the extra `export`) or `.pt2`.
        input_shape: `(T, H, W)` of the clips that the file will take.
        card: travels with the file, with the sizes of these clips in it.

    Returns:
        The largest difference between the file's logits and the network's, on random clips in batches of 1 and 3.

    Raises:
        ExportError: the name ends in something else, the network cannot be traced, or the logits differ.
        ImportError: a package of the extra `export` is missing.
        OSError: the file cannot be written; an older one is left as it was.
    """
    file = Path(file).expanduser().absolute()
    if file.suffix not in EXPORT_FORMATS:
        raise ExportError(f"{file}: the name must end in {' or '.join(EXPORT_FORMATS)}")
    # In 32 bits, on the CPU and contiguous: the plainest form of every layer.
    plain = copy.deepcopy(network).cpu().float().eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    folded = fold_norms(plain)
    clip = torch.randn(2, 3, *input_shape, generator=torch.Generator().manual_seed(0))
    frames, height, _ = input_shape
    text = json.dumps(replace(card, num_frames=frames, test_crop=height).to_dict())
    write: Callable[..., None] = _write_onnx if file.suffix == ".onnx" else _write_pt2
    with replacing(file) as temporary:
        write(folded, clip, temporary, text)
        difference, largest = largest_difference(plain, load_exported(temporary)[0], input_shape)
        if not difference <= TOLERANCE * max(largest, 1.0):
            raise ExportError(
                f"{file}: not written, its logits differ from the network's by {difference:.2g}"
            )
    return difference


def traced(network: nn.Module, clip: Tensor, file: Path) -> ExportedProgram:
    """The network as a graph, for clips like this one in batches of any size; ExportError where there is none."""
    try:
        with torch.no_grad():
            return torch.export.export(network, (clip,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # torch.export raises whatever the network's own code met
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(f"{type(network).__name__} cannot be exported: {reason}") from error


def _write_pt2(network: nn.Module, clip: Tensor, file: Path, card: str) -> None:
    program = traced(network, clip, file)
    # Stack traces name the files of this machine, and the example is a clip's worth of noise.
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta = {key: value for key, value in node.meta.items() if key in ("val", "tensor_meta")}
    program.example_inputs = None
    # By way of memory, since torch's own writer ends the process where the disk is full.
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={CARD: card})
    file.write_bytes(content.getbuffer())


def _write_onnx(network: nn.Module, clip: Tensor, file: Path, card: str) -> None:
    try:
        import onnx  # noqa: F401  what the exporter needs, and says less clearly
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"writing ONNX needs {error.name}: pip install 'octvideo[export]'"
        ) from None
    program = torch.onnx.export(
        traced(network, clip, file),
        dynamo=True,
        input_names=["clip"],
        output_names=["logits"],
        external_data=False,
        verbose=False,
    )
    assert program is not None  # it is with dynamo=True
    program.model.metadata_props[Path(CARD).stem] = card
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        value.shape[0] = "batch"  # type: ignore[index]  # torch calls it s77, or another number
    program.save(file, external_data=False)


def largest_difference(
    network: nn.Module,
    exported: Callable[[Tensor], Tensor],
    input_shape: tuple[int, int, int],
    device: str = "cpu",
) -> tuple[float, float]:
    """The largest difference of the logits of random clips, in batches of 1 and 3; and the largest logit."""
    generator = torch.Generator().manual_seed(1)
    difference = largest = 0.0
    with torch.no_grad():
        for size in (1, 3):
            clip = torch.randn(size, 3, *input_shape, generator=generator).to(device)
            expected = network(clip)
            difference = max(difference, float((exported(clip) - expected).abs().max()))
            largest = max(largest, float(expected.abs().max()))
    return difference, largest
