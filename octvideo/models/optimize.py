"""A network made ready for inference: norms folded, convolutions fused, channels last."""

import copy
import operator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from octvideo.layers.conv import OctaveConv2d, OctaveConv3d
from octvideo.layers.frozen import FrozenConv
from octvideo.layers.norm import batch_norm
from octvideo.models.fuse import fuse
from octvideo.models.graphs import Recorded
from octvideo.models.repair import repair
from octvideo.models.trace import is_plain, trace


def optimize(model: nn.Module, *, compile: bool = False, graphs: bool = False) -> nn.Module:
    """A copy of a network, octave or dense, that gives the same outputs faster, for inference only.

    Norms that follow a convolution are folded into its weights; the addition and ReLU behind it become part of it;
    octave layers cut their weights into the paths once; the memory layout is channels-last. On CPUs its
    convolutions run by the engine ``native``, which g++ compiles once for a machine. Its
    state dict is not the network's any more.

    Args:
        model: from ``create_model`` or ``octavize``, or any network that ``torch.fx`` can trace.
        compile: also compile it (``torch.compile``, weights frozen): minutes at the first call, faster from
            then on, for one input shape. On a CPU where nearly all of its convolutions run in octvideo's own
            kernels, which are compiled in any case, it is left as it is: that was measured faster.
        graphs: on a GPU, also record its calls as CUDA graphs, for inputs whose shape comes again: one clip's call is
            hundreds of kernels, which take longer to start than to run. A recording holds the memory of a call.

    Raises:
        ValueError: the network cannot be traced.
    """
    graph = fold_norms(model)
    layout = torch.channels_last_3d if _is_video(graph) else torch.channels_last
    fuse(graph)
    graph = graph.to(memory_format=layout).requires_grad_(False)  # type: ignore[call-overload]
    network = Frozen(graph) if compile else graph
    return Recorded(network) if graphs else network


def fold_norms(model: nn.Module) -> fx.GraphModule:
    """A copy of a network as a graph in evaluation, norms that follow a convolution folded into its weights.

    Raises:
        ValueError: the network cannot be traced.
    """
    model = copy.deepcopy(model).eval()
    if not isinstance(model, fx.GraphModule):
        repair(model)
        model = fx.GraphModule(model, trace(model), class_name=type(model).__name__)
    _fold_norms(model)
    return model


class Frozen(nn.Module):
    """A compiled network whose weights are constants, laid out once for the kernels that read them.

    torch reads this setting when it compiles, at the first call with a shape, and from nowhere but here:
    ``torch.compile(options={"freezing": True})`` leaves the weights as they are (torch 2.11 to 2.14).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._compiled = torch.compile(model, dynamic=False)

    def forward(self, x: Tensor) -> Any:
        if x.device.type == "cpu" and _is_native(self.model):
            with torch.no_grad():
                return self.model(x)
        from torch._inductor import config  # half a second to import

        # Hundreds of short calls a clip: from C++ they cost a CPU less than from Python.
        with config.patch(freezing=True, cpp_wrapper=x.device.type == "cpu"), torch.no_grad():
            return self._compiled(x)


def _is_native(model: nn.Module) -> bool:
    """Whether the engine ``native`` has nine of ten convolutions: all but the first, as a rule."""
    layers = [module for module in model.modules() if isinstance(module, FrozenConv)]
    names = [layer.engine(torch.empty(0, dtype=layer.weight.dtype)).name for layer in layers]
    return names.count("native") >= 0.9 * len(names) > 0


def _is_video(model: nn.Module) -> bool:
    return any(isinstance(m, nn.Conv3d) for m in model.modules())


def _fold_norms(model: fx.GraphModule) -> None:
    """Fold every norm that alone takes a convolution's output, and that alone uses its parameters."""
    calls: dict[str, int] = {}
    for node in model.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    for node in list(model.graph.nodes):
        if node.op != "call_module":
            continue
        conv = model.get_submodule(str(node.target))
        found = _norm_of(model, node)
        if found is None or calls[str(node.target)] > 1 or not _can_fold(conv):
            continue
        norm_node, norm = found
        layer = cast(nn.Conv3d, conv)
        layer.weight, layer.bias = fuse_conv_bn_weights(  # type: ignore[assignment]
            layer.weight, layer.bias, cast(Any, norm.running_mean), cast(Any, norm.running_var), norm.eps,
            norm.weight, norm.bias,
        )  # fmt: skip
        norm_node.replace_all_uses_with(node)
        model.graph.erase_node(norm_node)
    model.graph.eliminate_dead_code()
    model.graph.lint()
    model.recompile()
    model.delete_all_unused_submodules()


def _can_fold(conv: nn.Module) -> bool:
    return isinstance(conv, OctaveConv2d | OctaveConv3d) or (
        is_plain(conv) and isinstance(conv, nn.Conv2d | nn.Conv3d)
    )


def _norm_of(model: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, _BatchNorm] | None:
    """The norm that is the only user of a convolution, through both frequencies if it gives two."""
    parts = list(node.users)
    if parts and all(p.op == "call_function" and p.target is operator.getitem for p in parts):
        users = {user for part in parts for user in part.users}
        norm_node = next(iter(users), None)
        if len(users) != 1 or norm_node is None or norm_node.target is not batch_norm:
            return None
        norm = model.get_submodule(str(cast(fx.Node, norm_node.args[0]).target))
    elif len(parts) == 1 and parts[0].op == "call_module":
        norm_node = parts[0]
        norm = model.get_submodule(str(norm_node.target))
    else:
        return None
    foldable = isinstance(norm, _BatchNorm) and norm.running_mean is not None
    return (norm_node, cast(_BatchNorm, norm)) if foldable else None
