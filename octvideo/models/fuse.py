"""Convolutions of a traced network with the addition and the ReLU behind them in one layer, for inference."""

import operator
from dataclasses import dataclass
from typing import cast

from torch import fx, nn

from octvideo.engines.resample import downsample
from octvideo.layers.conv import OctaveConv2d, OctaveConv3d
from octvideo.layers.flat import is_zero_padded
from octvideo.layers.frozen import FrozenConv
from octvideo.models.trace import is_plain


@dataclass(frozen=True)
class _Epilogue:
    """What follows one output of a convolution and becomes part of it: an addition, a ReLU, both, or nothing.

    Args:
        output: the convolution's.
        nodes: what follows it, in order.
        residual: what is added.
        relu: whether a ReLU is the last of them.
    """

    output: fx.Node
    nodes: tuple[fx.Node, ...] = ()
    residual: fx.Node | None = None
    relu: bool = False

    @property
    def place(self) -> fx.Node:
        """Where the frozen layer goes: before the first of the nodes, all inputs being there."""
        return self.nodes[0] if self.nodes else self.output


def fuse(model: fx.GraphModule) -> None:
    """Replace every convolution by its frozen form, in place; norms are folded already.

    Of the two convolutions that an addition may follow, the later one takes it in.
    """
    order = {node: i for i, node in enumerate(model.graph.nodes)}
    for node in list(model.graph.nodes):
        layer = model.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, OctaveConv2d | OctaveConv3d):
            if layer.in_split.high and layer.out_split.high:
                _freeze(model, node, layer, order)
        elif isinstance(layer, nn.Conv2d | nn.Conv3d) and is_plain(layer) and is_zero_padded(layer):
            _freeze(model, node, layer, order)
    _let_overwrite(model)
    _pool_once(model)
    model.graph.lint()
    model.recompile()
    model.delete_all_unused_submodules()


def _freeze(
    model: fx.GraphModule, node: fx.Node, layer: nn.Conv2d | nn.Conv3d, order: dict[fx.Node, int]
) -> None:
    frozen = FrozenConv(layer)
    x = node.args[0]
    inputs = tuple(x) if isinstance(x, tuple | list) else (x, None)
    outputs = [node]
    if len(frozen.outputs) > 1:
        outputs = [next(n for n in node.users if n.args[1] == i) for i in (0, 1)]
    epilogues = [_epilogue(model, output) for output in outputs]
    place = min((e.place for e in epilogues), key=lambda n: order[n])
    if any(e.residual is not None and order[e.residual] > order[place] for e in epilogues):
        epilogues, place = [_Epilogue(output) for output in outputs], outputs[0]
    frozen.relu = tuple(name for name, e in zip(frozen.outputs, epilogues, strict=True) if e.relu)
    # Each call gets a layer of its own: what is behind one call need not be behind the next.
    path = f"fused_{node.name}"
    model.add_submodule(path, frozen)
    with model.graph.inserting_before(place):
        new = model.graph.call_module(path, (*inputs, *(e.residual for e in epilogues)))
        order[new] = order[place]
        results = [new]
        if outputs[1:]:
            results = [model.graph.call_function(operator.getitem, (new, i)) for i in (0, 1)]
    for result, epilogue in zip(results, epilogues, strict=True):
        order[result] = order[place]
        chain = (epilogue.output, *epilogue.nodes)
        chain[-1].replace_all_uses_with(result)
        for done in reversed(chain):
            model.graph.erase_node(done)
    if outputs[1:]:
        model.graph.erase_node(node)


def _let_overwrite(model: fx.GraphModule) -> None:
    """Let a residual be overwritten where it is another convolution's result and read no more."""
    order = {node: i for i, node in enumerate(model.graph.nodes)}
    for node in model.graph.nodes:
        layer = _frozen(model, node)
        if layer is not None:
            residuals = zip(layer.outputs, node.args[2:], strict=True)
            layer.overwrites = tuple(n for n, value in residuals if _ends_here(model, value, node, order))


def _ends_here(model: fx.GraphModule, value: object, reader: fx.Node, order: dict[fx.Node, int]) -> bool:
    """Whether a value is a frozen convolution's own memory, given to such layers alone, and to ``reader`` last."""
    if not isinstance(value, fx.Node):
        return False
    users = list(value.users)
    return (
        _maker(model, value) is not None
        and all(_frozen(model, user) is not None for user in users)
        and max(users, key=lambda user: order[user]) is reader
        and reader.args.count(value) == 1
    )


def _maker(model: fx.GraphModule, value: fx.Node) -> fx.Node | None:
    """The call of a frozen layer that gives a value, as its only output or as one of them."""
    is_one_of = value.target is operator.getitem
    call = cast(fx.Node, value.args[0]) if is_one_of else value
    layer = _frozen(model, call)
    return call if layer is not None and (len(layer.outputs) > 1) == is_one_of else None


def _frozen(model: fx.GraphModule, node: fx.Node) -> FrozenConv | None:
    layer = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    return layer if isinstance(layer, FrozenConv) else None


def _pool_once(model: fx.GraphModule) -> None:
    """Pool a high map once for all octave layers that read it so: in the layer that makes it, if that is octave."""
    readers: dict[fx.Node, list[fx.Node]] = {}
    for node in model.graph.nodes:
        layer = _frozen(model, node)
        if layer is not None and layer.takes_pooled:
            readers.setdefault(node.args[0], []).append(node)
    for high, nodes in readers.items():
        maker = _maker(model, high)
        layer = None if maker is None else _frozen(model, maker)
        with model.graph.inserting_after(high):
            if maker is not None and layer is not None and len(layer.outputs) > 1:
                layer.gives_pooled = True
                pooled = model.graph.call_function(operator.getitem, (maker, len(layer.outputs)))
            else:
                pooled = model.graph.call_function(downsample, (high,))
        for node in nodes:
            node.kwargs = {"pooled": pooled}


def _epilogue(model: fx.GraphModule, output: fx.Node) -> _Epilogue:
    nodes: tuple[fx.Node, ...] = ()
    residual = None
    user = _only_user(output)
    if user is not None and user.target is operator.add and len(user.all_input_nodes) == 2:
        residual = next(n for n in user.all_input_nodes if n is not output)
        nodes = (user,)
        user = _only_user(user)
    if user is None or user.op != "call_module" or type(model.get_submodule(str(user.target))) is not nn.ReLU:
        return _Epilogue(output, nodes, residual)
    return _Epilogue(output, (*nodes, user), residual, relu=True)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
