"""The Caffe2 files of PySlowFast's zoo: C2D, I3D, I3D-NLN, Slow, SlowFast; a pickle of numpy arrays, ``.pkl``.

A blob's name is brought to PySlowFast's name of today, as slowfast/utils/c2_model_loading.py does. Its C2D has no pool
over time, unlike the C2D of PySlowFast's and pytorchvideo's other files, which has the same names and shapes.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from octvideo.models.sources import pyslowfast
from octvideo.models.sources.names import SourceError

NAME = "PySlowFast, Caffe2"

_BLOBS = "blobs."
# What training left beside the weights.
_NOT_WEIGHTS = re.compile(r"_momentum$|^lr$|^model_iter$")
_TENSORS = {
    "w": ".weight",
    "b": ".bias",
    "bn_s": "bn.weight",
    "bn_b": "bn.bias",
    "bn_rm": "bn.running_mean",
    "bn_riv": "bn.running_var",
}
_TENSOR = r"(?P<tensor>w|b|bn_s|bn_b|bn_rm|bn_riv)"
# A name's pattern, what it becomes before a convolution's tensor and before its norm's. `t_` is the fast pathway.
_PATTERNS = [
    (r"(?P<fast>t_)?(?:res_)?conv1_", "s1.pathway{p}_stem.conv", "s1.pathway{p}_stem."),
    (
        r"(?P<fast>t_)?res(?P<s>\d)_(?P<i>\d+)_branch1_",
        "s{s}.pathway{p}_res{i}.branch1",
        "s{s}.pathway{p}_res{i}.branch1_",
    ),
    (
        r"(?P<fast>t_)?res(?P<s>\d)_(?P<i>\d+)_branch2(?P<x>[abc])_",
        "s{s}.pathway{p}_res{i}.branch2.{x}",
        "s{s}.pathway{p}_res{i}.branch2.{x}_",
    ),
    (r"t_pool1_subsample_", "s1_fuse.conv_f2s", "s1_fuse."),
    (r"t_res(?P<s>\d)_\d+_branch2c_bn_subsample_", "s{s}_fuse.conv_f2s", "s{s}_fuse."),
    (
        r"nonlocal_conv(?P<s>\d)_(?P<i>\d+)_(?P<x>theta|phi|g|out)_",
        "s{s}.pathway0_nonlocal{i}.conv_{x}",
        "",
    ),
    (r"nonlocal_conv(?P<s>\d)_(?P<i>\d+)_", "", "s{s}.pathway0_nonlocal{i}."),
    (r"pred_", "head.projection", ""),
]


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    return f"{_BLOBS}conv1_w" in tensors


def convert(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Under pytorchvideo's names.

    Raises:
        SourceError: a C2D, for a network with a pool over time.
    """
    blobs = {name.removeprefix(_BLOBS): value for name, value in tensors.items()}
    weights = {name: value for name, value in blobs.items() if not _NOT_WEIGHTS.search(name)}
    if _is_c2d(weights) and _pools_time(model):
        raise SourceError("it is PySlowFast's C2D without pools over time: c2d_nopool_r50")
    target = model.state_dict()
    found = pyslowfast.convert({their_name(name) or name: value for name, value in weights.items()}, model)
    return {
        name: value.view(target[name].shape)
        if name in target and value.numel() == target[name].numel()
        else value
        for name, value in found.items()
    }


def their_name(blob: str) -> str | None:
    """PySlowFast's name of a blob; None where it has none.

    Example:
        >>> their_name("res4_22_branch2c_bn_riv")
        's4.pathway0_res22.branch2.c_bn.running_var'
    """
    for pattern, conv, norm in _PATTERNS:
        if match := re.fullmatch(pattern + _TENSOR, blob):
            parts = match.groupdict()
            start = norm if parts["tensor"].startswith("bn") else conv
            if start:
                fast = int(bool(parts.get("fast")))
                return start.format(p=fast, **parts) + _TENSORS[parts["tensor"]]
    return None


def _is_c2d(blobs: Mapping[str, Tensor]) -> bool:
    """Whether no kernel of a network of one pathway is longer than a frame."""
    kernels = [value for name, value in blobs.items() if name.endswith("_w") and value.dim() == 5]
    return not any(name.startswith("t_") for name in blobs) and all(k.shape[2] == 1 for k in kernels)


def _pools_time(model: nn.Module) -> bool:
    pools = [module for module in model.modules() if isinstance(module, nn.MaxPool3d)]
    return any(isinstance(pool.kernel_size, tuple) and pool.kernel_size[0] > 1 for pool in pools)
