"""A network as a training runs it: a norm and what is behind it in one call, where an engine has kernels for that."""

import copy
import operator
from typing import cast

from torch import fx, nn

from octvideo.engines import has_norms
from octvideo.errors import InputError
from octvideo.layers.norm import as_rows, batch_norm
from octvideo.models.repair import repair
from octvideo.models.trace import is_plain, trace

# What a module holds; a network and its form for training hold the same.
_HELD = ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")


def for_training(network: nn.Module) -> nn.Module:
    """The network to call in a training, octave or dense: with the same modules, parameters and state dict.

    Where an engine that may be taken has kernels for norms (``triton``, if it was asked for), a batch norm, the
    addition and the ReLU behind it are one call of ``octvideo.layers.norm.batch_norm``, which hooks of these modules do
    not see. Elsewhere, and where ``torch.fx`` cannot trace the network, it is the network itself.

    Args:
        network: stays as it is, and is what is saved, exported and optimised later.
    """
    if not has_norms():
        return network
    try:
        graph = (
            copy.deepcopy(cast(fx.Graph, network.graph))
            if isinstance(network, fx.GraphModule)
            else trace(repair(network))
        )
    except InputError:
        return network
    _write_calls(graph, network)
    # Of two norms that are added up, the later one takes the other's output.
    for node in reversed(list(graph.nodes)):
        if node.target is batch_norm:
            _take_in_what_follows(graph, node, network)
    graph.lint()
    runner = fx.GraphModule(network, graph, class_name=type(network).__name__)
    runner.__dict__.update({name: network.__dict__[name] for name in _HELD})
    return runner


def _write_calls(graph: fx.Graph, network: nn.Module) -> None:
    """Dense norms as those of two frequencies are written already."""
    for node in list(graph.nodes):
        if node.op != "call_module":
            continue
        norm = network.get_submodule(str(node.target))
        if not isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d) or not is_plain(norm):
            continue
        with graph.inserting_before(node):
            rows = as_rows(tuple(range(norm.num_features)))
            of = graph.get_attr(str(node.target))
            call = graph.call_function(batch_norm, (of, (node.args[0],), (rows,)))
            node.replace_all_uses_with(graph.call_function(operator.getitem, (call, 0)))
        graph.erase_node(node)


def _take_in_what_follows(graph: fx.Graph, call: fx.Node, network: nn.Module) -> None:
    """Make a ReLU that alone takes what a norm gave, or its sum with something else, part of the norm's call."""
    parts = sorted(call.users, key=lambda part: cast(int, part.args[1]))
    if len(parts) != len(cast(tuple[fx.Node, ...], call.args[1])):
        return
    added = [_added_to(part) for part in parts]
    residuals = tuple(other for other in added if other is not None)
    sums = [_user(part) for part in parts] if len(residuals) == len(parts) else []
    relus = [_relu_behind(end, network) for end in sums or parts]
    found = [relu for relu in relus if relu is not None]
    if len(found) < len(parts) or len({relu.target for relu in found}) > 1:
        return
    behind = [node for node in (*sums, *parts) if node is not None]
    with graph.inserting_before(found[0]):
        relu = graph.get_attr(str(found[0].target))
        new = graph.call_function(batch_norm, (*call.args, relu, residuals if sums else ()))
    for number, node in enumerate(found):
        with graph.inserting_before(node):
            node.replace_all_uses_with(graph.call_function(operator.getitem, (new, number)))
    for node in (*found, *behind, call):
        graph.erase_node(node)


def _user(node: fx.Node) -> fx.Node | None:
    """What takes a value, if one node alone does."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def _added_to(part: fx.Node) -> fx.Node | None:
    """What is added to a value, if that is all that is done with it."""
    user = _user(part)
    if user is None or user.target not in (operator.add, operator.iadd):
        return None
    first, second = user.args
    if user.target is operator.iadd and first is not part:  # what the value is added to changes
        return None
    other = second if first is part else first
    return other if isinstance(other, fx.Node) and other is not part else None


def _relu_behind(node: fx.Node | None, network: nn.Module) -> fx.Node | None:
    """The ReLU that takes a value, if it alone does."""
    user = None if node is None else _user(node)
    if user is None or user.op != "call_module":
        return None
    return user if type(network.get_submodule(str(user.target))) is nn.ReLU else None
