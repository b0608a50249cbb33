"""Convolutions of a traced network with the addition and the ReLU behind them in one layer, for inference."""

import operator
from dataclasses import dataclass
from typing import cast

from torch import fx, nn

from octvideo.layers.conv import OctaveConv2d, OctaveConv3d
from octvideo.layers.flat import is_zero_padded
from octvideo.layers.fused import FusedConv
from octvideo.layers.fused_octave import FusedOctaveConv
from octvideo.layers.resample import downsample
from octvideo.models.trace import is_plain


@dataclass(frozen=True)
class _Behind:
    """What follows one output of a convolution and becomes part of it: an addition, a ReLU, both, or nothing.

    Args:
        output: the convolution's.
        nodes: what follows it, in order.
        other: what is added.
        relu: whether a ReLU is the last of them.
    """

    output: fx.Node
    nodes: tuple[fx.Node, ...] = ()
    other: fx.Node | None = None
    relu: bool = False

    @property
    def place(self) -> fx.Node:
        """Where the fused layer goes: before the first of the nodes, all inputs being there."""
        return self.nodes[0] if self.nodes else self.output


def fuse(model: fx.GraphModule) -> None:
    """Replace every convolution by its fused form, in place; norms are folded already.

    Of the two convolutions that an addition may follow, the later one takes it in.
    """
    order = {node: i for i, node in enumerate(model.graph.nodes)}
    for node in list(model.graph.nodes):
        if node.op != "call_module":
            continue
        layer = model.get_submodule(str(node.target))
        if isinstance(layer, OctaveConv2d | OctaveConv3d):
            if layer.in_split.high and layer.out_split.high:
                _fuse_octave(model, node, layer, order)
        elif isinstance(layer, nn.Conv2d | nn.Conv3d) and is_plain(layer) and is_zero_padded(layer):
            _fuse_dense(model, node, layer, order)
    _let_overwrite(model)
    _pool_once(model)
    model.graph.lint()
    model.recompile()
    model.delete_all_unused_submodules()


def _fuse_dense(
    model: fx.GraphModule, node: fx.Node, conv: nn.Conv2d | nn.Conv3d, order: dict[fx.Node, int]
) -> None:
    behind = _behind(model, node)
    padding = cast(tuple[int, ...], conv.padding)
    fused = FusedConv(conv.weight, conv.bias, conv.stride, padding, conv.dilation, conv.groups)
    fused.relu = behind.relu
    path = _install(model, node, fused)
    with model.graph.inserting_before(behind.place):
        new = model.graph.call_module(path, (node.args[0], behind.other))
    order[new] = order[behind.place]
    _replace(model, behind, new)


def _fuse_octave(
    model: fx.GraphModule, node: fx.Node, layer: OctaveConv2d | OctaveConv3d, order: dict[fx.Node, int]
) -> None:
    x = node.args[0]
    inputs = tuple(x) if isinstance(x, tuple | list) else (x, None)
    outputs = [node]
    if layer.out_split.low:
        outputs = [next(n for n in node.users if n.args[1] == i) for i in (0, 1)]
    behind = [_behind(model, output) for output in outputs]
    place = min((b.place for b in behind), key=lambda n: order[n])
    if any(b.other is not None and order[b.other] > order[place] for b in behind):
        behind, place = [_Behind(output) for output in outputs], outputs[0]
    fused = FusedOctaveConv(layer)
    fused.relu = [b.relu for b in behind]
    path = _install(model, node, fused)
    with model.graph.inserting_before(place):
        new = model.graph.call_module(path, (*inputs, *(b.other for b in behind)))
        results = [new]
        if layer.out_split.low:
            results = [model.graph.call_function(operator.getitem, (new, i)) for i in (0, 1)]
    for result, part in zip(results, behind, strict=True):
        order[result] = order[place]
        _replace(model, part, result)
    if layer.out_split.low:
        model.graph.erase_node(node)


def _let_overwrite(model: fx.GraphModule) -> None:
    """Let what is added to a convolution be overwritten where it is another's result and read no more."""
    order = {node: i for i, node in enumerate(model.graph.nodes)}
    for node in model.graph.nodes:
        layer = _fused(model, node)
        if layer is None:
            continue
        others = node.args[1:] if isinstance(layer, FusedConv) else node.args[2:]
        ends = [_ends_here(model, other, node, order) for other in others]
        if isinstance(layer, FusedConv):
            layer.overwrites = ends[0]
        else:
            layer.overwrites = ends[: len(layer.out_channels)]


def _ends_here(model: fx.GraphModule, value: object, reader: fx.Node, order: dict[fx.Node, int]) -> bool:
    """Whether a value is a fused convolution's own memory, given to such convolutions alone, and to ``reader`` last."""
    if not isinstance(value, fx.Node):
        return False
    is_output = value.target is operator.getitem
    maker = cast(fx.Node, value.args[0]) if is_output else value
    users = list(value.users)
    return (
        isinstance(_fused(model, maker), FusedOctaveConv if is_output else FusedConv)
        and all(_fused(model, user) is not None for user in users)
        and max(users, key=lambda user: order[user]) is reader
        and reader.args.count(value) == 1
    )


def _fused(model: fx.GraphModule, node: fx.Node) -> FusedConv | FusedOctaveConv | None:
    layer = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    return layer if isinstance(layer, FusedConv | FusedOctaveConv) else None


def _pool_once(model: fx.GraphModule) -> None:
    """Pool a high map once for all octave layers that read it so: in the layer that makes it, if that is octave."""
    readers: dict[fx.Node, list[fx.Node]] = {}
    for node in model.graph.nodes:
        layer = _fused(model, node)
        if isinstance(layer, FusedOctaveConv) and layer.takes_pooled:
            readers.setdefault(node.args[0], []).append(node)
    for high, nodes in readers.items():
        maker = cast(fx.Node, high.args[0]) if high.target is operator.getitem else high
        layer = _fused(model, maker)
        with model.graph.inserting_after(high):
            if isinstance(layer, FusedOctaveConv) and high is not maker:
                layer.gives_pooled = True
                pooled = model.graph.call_function(operator.getitem, (maker, len(layer.out_channels)))
            else:
                pooled = model.graph.call_function(downsample, (high,))
        for node in nodes:
            node.kwargs = {"pooled": pooled}


def _install(model: fx.GraphModule, node: fx.Node, layer: nn.Module) -> str:
    """Each call gets a layer of its own: what is behind one call need not be behind the next."""
    path = f"fused_{node.name}"
    model.add_submodule(path, layer)
    return path


def _replace(model: fx.GraphModule, behind: _Behind, new: fx.Node) -> None:
    chain = (behind.output, *behind.nodes)
    chain[-1].replace_all_uses_with(new)
    for node in reversed(chain):
        model.graph.erase_node(node)


def _behind(model: fx.GraphModule, output: fx.Node) -> _Behind:
    nodes: tuple[fx.Node, ...] = ()
    other = None
    user = _only_user(output)
    if user is not None and user.target is operator.add and len(user.all_input_nodes) == 2:
        other = next(n for n in user.all_input_nodes if n is not output)
        nodes = (user,)
        user = _only_user(user)
    if user is None or user.op != "call_module" or type(model.get_submodule(str(user.target))) is not nn.ReLU:
        return _Behind(output, nodes, other)
    return _Behind(output, (*nodes, user), other, relu=True)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
