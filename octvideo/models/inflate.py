"""Image networks' weights in video networks: https://arxiv.org/abs/1705.07750, section 2.4.1."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from octvideo.errors import InputError
from octvideo.models.checkpoints import CheckpointError, read_checkpoint
from octvideo.models.sources import oct_resnet

TIME = ("mean", "centre")

# torchvision's names in a bottleneck block, and pytorchvideo's.
_IN_BLOCK = {
    "conv1": "branch2.conv_a",
    "bn1": "branch2.norm_a",
    "conv2": "branch2.conv_b",
    "bn2": "branch2.norm_b",
    "conv3": "branch2.conv_c",
    "bn3": "branch2.norm_c",
    "downsample.0": "branch1_conv",
    "downsample.1": "branch1_norm",
}


def inflate(state_dict_2d: Mapping[str, Tensor], model_3d: nn.Module, *, time: str = "mean") -> list[str]:
    """Load torchvision's image ResNet into pytorchvideo's c2d, i3d or slow network, dense or octave, in place.

    A kernel is repeated along time and divided by its extent, so that a still clip gives what its image gave.

    Args:
        state_dict_2d: of a torchvision bottleneck ResNet of the same depth (resnet50 for ``i3d_r50``).
        model_3d: the video network. An octave one has the dense one's weights, so it is the same.
        time: ``mean`` (the paper's), or ``centre``: all weight at the kernel's middle frame.

    Returns:
        The video network's parameters that no image weight went into: the classifier, unless both have as
        many classes, and non-local blocks.

    Raises:
        ValueError: an image weight that has no place in the video network, or another shape there.
    """
    if time not in TIME:
        raise InputError(f"time is {time!r}; it must be one of {', '.join(TIME)}")
    target = model_3d.state_dict()
    stages = sorted({int(m[1]) for key in target if (m := re.match(r"blocks\.(\d+)\.res_blocks\.", key))})
    heads = [key.removesuffix(".weight") for key in target if key.endswith("proj.weight")]
    loaded: dict[str, Tensor] = {}
    for key, weight in state_dict_2d.items():
        name = _video_name(key, stages, heads)
        if name is None or name not in target:
            raise InputError(
                f"{key} of the image network has no place in {type(model_3d).__name__}; "
                "it must be a torchvision bottleneck ResNet of the same depth"
            )
        shape = target[name].shape
        if key.startswith("fc.") and weight.shape != shape:
            continue  # another set of classes
        value = _inflated(weight, shape[2], time) if weight.dim() == 4 else weight
        if value.shape != shape:
            raise InputError(f"{key} has shape {tuple(weight.shape)}; {name} has {tuple(shape)}")
        loaded[name] = value
    model_3d.load_state_dict(loaded, strict=False)
    return [name for name, _ in model_3d.named_parameters() if name not in loaded]


def inflate_file(path: str | Path, model_3d: nn.Module) -> str:
    """Load a file of torchvision's image ResNet, or of d-li14's octave ones, into a video network, in place.

    Returns:
        In words what it did.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it cannot be read safely, or has no place in the network.
    """
    file = Path(path).expanduser().absolute()
    kind = "image network"
    try:
        content = read_checkpoint(file)
        tensors = content.get("state_dict", content)
        if oct_resnet.recognises(tensors):
            tensors, alpha = oct_resnet.as_dense(tensors)
            kind = f"{oct_resnet.NAME}, trained at alpha {alpha:g}"
        new = inflate(tensors, model_3d)
    except CheckpointError:
        raise
    except (InputError, AttributeError) as error:  # AttributeError: what is no tensor
        raise CheckpointError(f"{file} does not fit: {error}") from error
    return f"{file} ({kind}): inflated along time; {len(new)} parameters start at random: {', '.join(new)}"


def _video_name(key: str, stages: list[int], heads: list[str]) -> str | None:
    """pytorchvideo's name of torchvision's ``key``."""
    stem = {"conv1": "blocks.0.conv", "bn1": "blocks.0.norm"}
    parts = re.fullmatch(r"layer(\d)\.(\d+)\.(conv\d|bn\d|downsample\.\d)\.(\w+)", key)
    if parts and int(parts[1]) <= len(stages) and parts[3] in _IN_BLOCK:
        return f"blocks.{stages[int(parts[1]) - 1]}.res_blocks.{parts[2]}.{_IN_BLOCK[parts[3]]}.{parts[4]}"
    module, _, parameter = key.rpartition(".")
    if module in stem:
        return f"{stem[module]}.{parameter}"
    if module == "fc" and heads:
        return f"{heads[0]}.{parameter}"
    return None


def _inflated(weight: Tensor, frames: int, time: str) -> Tensor:
    """``(C_out, C_in, kH, kW)`` to ``(C_out, C_in, frames, kH, kW)``."""
    if time == "mean":
        return weight[:, :, None].expand(-1, -1, frames, -1, -1) / frames
    inflated = torch.zeros(*weight.shape[:2], frames, *weight.shape[2:], dtype=weight.dtype)
    inflated[:, :, frames // 2] = weight
    return inflated
