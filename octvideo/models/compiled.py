"""A network compiled for the machine at hand: torch's AOTInductor package, kernels and weights in one file.

The file is a program of this machine's instructions. Whoever loads it runs it, so octvideo does not load such files:

    network = torch._inductor.aoti_load_package("network.pt2")    # of one's own making, or of someone trusted
    logits = network(clip)                                        # float32 (B, 3, T, H, W), any B
    json.loads(network.get_metadata()["model_card"])
"""

import copy
import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from octvideo.card import Card
from octvideo.errors import OctvideoError
from octvideo.files import replacing
from octvideo.models.export import TOLERANCE, ExportError, largest_difference, traced
from octvideo.models.optimize import fold_norms


class CompileError(OctvideoError):
    """A network that cannot be compiled here; one line."""


def compile_network(
    network: nn.Module,
    file: str | Path,
    *,
    input_shape: tuple[int, int, int],
    card: Card,
    device: str = "cpu",
) -> float:
    """Compiles a network into a file, loads the file and compares it with the network.

    Args:
        network: of `octvideo.models`, dense or octave; it is not changed.
        file: ends in `.pt2`.
        input_shape: `(T, H, W)` of the clips that the file will take.
        card: travels with the file, with the sizes of these clips in it.
        device: that the file runs on, "cpu" or "cuda".

    Returns:
        The largest difference between the file's logits and the network's, on random clips in batches of 1 and 3.

    Raises:
        ExportError: the name ends in something else, the network cannot be traced, or the logits differ.
        CompileError: there is no compiler, or it fails.
        OSError: the file cannot be written; an older one is left as it was.
    """
    file = Path(file).expanduser().absolute()
    if file.suffix != ".pt2":
        raise ExportError(f"{file}: the name of a compiled network must end in .pt2")
    plain = copy.deepcopy(network).to(device).float().eval()
    clip = torch.randn(2, 3, *input_shape, generator=torch.Generator().manual_seed(0)).to(device)
    program = traced(fold_norms(plain), clip, file)
    frames, height, _ = input_shape
    text = json.dumps(replace(card, num_frames=frames, test_crop=height).to_dict())
    with replacing(file) as temporary:
        try:
            torch._inductor.aoti_compile_and_package(
                program,
                package_path=str(temporary),
                inductor_configs={"aot_inductor.metadata": {"model_card": text}},
            )
        except OSError:
            raise
        except Exception as error:  # inductor raises whatever its parts do
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CompileError(f"{file}: cannot be compiled on this machine: {reason}") from error
        compiled = torch._inductor.aoti_load_package(str(temporary))
        difference, largest = largest_difference(plain, compiled, input_shape, device)
        if not difference <= TOLERANCE * max(largest, 1.0):
            raise ExportError(
                f"{file}: not written, its logits differ from the network's by {difference:.2g}"
            )
    return difference
