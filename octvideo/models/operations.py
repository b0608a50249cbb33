"""What octavize has to know of a traced network's operations."""

import enum
import operator
from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from octvideo.layers.channelwise import Pair, PoolSizes, pool_sizes, sizes_of_pool
from octvideo.layers.flat import geometry_of, is_zero_padded
from octvideo.models.trace import is_plain


class Kind(enum.Enum):
    """How an operation is carried out on two frequencies."""

    CONV = "conv"
    NORM = "norm"
    EACH = "each"  # on every number by itself: activation, dropout
    POOL = "pool"
    GLOBAL_POOL = "global pool"  # to one number a channel (and frame)
    BINARY = "binary"  # addition, multiplication
    CONCATENATE = "concatenate"
    OTHER = "other"  # on the dense value


EACH_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh,
    nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.Dropout, nn.Dropout2d, nn.Dropout3d,
)  # fmt: skip
EACH_FUNCTIONS = {
    F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid, F.sigmoid, F.tanh,
    F.dropout, F.dropout2d, F.dropout3d, torch.relu, torch.relu_, torch.sigmoid, torch.tanh, operator.neg,
}  # fmt: skip
EACH_METHODS = {"relu", "relu_", "sigmoid", "sigmoid_", "tanh", "contiguous", "clone", "neg"}
POOL_MODULES = (nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d)
POOL_FUNCTIONS = {F.max_pool2d, F.max_pool3d, F.avg_pool2d, F.avg_pool3d}
ADAPTIVE_MODULES = (nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
ADAPTIVE_FUNCTIONS = {F.adaptive_avg_pool2d, F.adaptive_avg_pool3d}
BINARY_FUNCTIONS = {
    operator.add,
    operator.iadd,
    operator.mul,
    operator.imul,
    operator.sub,
    torch.add,
    torch.mul,
}
BINARY_METHODS = {"add", "add_", "mul", "mul_"}
CONCATENATE_FUNCTIONS = {torch.cat, torch.concat, torch.concatenate}

# What passes channels on one by one: the split before it is the split behind it.
CHANNELWISE = (Kind.NORM, Kind.EACH, Kind.POOL)


class Operations:
    """The kinds of a graph's nodes, and what follows from them.

    Args:
        graph: the dense network's.
        modules: its modules by path.
    """

    def __init__(self, graph: fx.Graph, modules: dict[str, nn.Module]) -> None:
        self.graph = graph
        self.modules = modules
        self.rank = 5 if any(isinstance(m, nn.Conv3d) for m in modules.values()) else 4
        self.kind = {node: self._kind(node) for node in graph.nodes}
        self.scale = self._scales()

    def _kind(self, node: fx.Node) -> Kind:
        if self._is_pool(node):
            return Kind.POOL if _pools_alike(*self.pool_sizes(node)) else Kind.OTHER
        if node.op == "call_module":
            return self._module_kind(self.modules[str(node.target)])
        if node.op == "call_function":
            return self._function_kind(node)
        if node.op == "call_method":
            if node.target in EACH_METHODS:
                return Kind.EACH
            if node.target in BINARY_METHODS:
                return Kind.BINARY
            if node.target == "mean" and self._is_global_mean(node):
                return Kind.GLOBAL_POOL
        return Kind.OTHER

    def _is_pool(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.modules[str(node.target)], POOL_MODULES)
        return node.op == "call_function" and node.target in POOL_FUNCTIONS

    def _module_kind(self, module: nn.Module) -> Kind:
        if is_plain(module):
            return Kind.NORM if isinstance(module, _BatchNorm) else Kind.CONV
        if isinstance(module, EACH_MODULES):
            per_channel = isinstance(module, nn.PReLU) and module.num_parameters > 1
            return Kind.OTHER if per_channel else Kind.EACH
        if isinstance(module, ADAPTIVE_MODULES) and _is_one_pixel(module.output_size):
            return Kind.GLOBAL_POOL
        return Kind.OTHER

    def _function_kind(self, node: fx.Node) -> Kind:
        if node.target in EACH_FUNCTIONS:
            return Kind.EACH
        if node.target in ADAPTIVE_FUNCTIONS and _is_one_pixel(_argument(node, 1, "output_size")):
            return Kind.GLOBAL_POOL
        if node.target is torch.mean and self._is_global_mean(node):
            return Kind.GLOBAL_POOL
        if node.target in BINARY_FUNCTIONS:
            return Kind.BINARY
        if node.target in CONCATENATE_FUNCTIONS and _argument(node, 1, "dim") in (1, 1 - self.rank):
            return Kind.CONCATENATE
        return Kind.OTHER

    def _is_global_mean(self, node: fx.Node) -> bool:
        """A mean over height and width, and perhaps time, that keeps the channels."""
        dims = _argument(node, 1, "dim")
        if not isinstance(dims, tuple | list):
            return False
        axes = {d % self.rank for d in dims}
        return {self.rank - 2, self.rank - 1} <= axes and not axes & {0, 1}

    def _scales(self) -> dict[fx.Node, float | None]:
        """How many input pixels a value's pixel spans along a side; None for values without pixels."""
        scale: dict[fx.Node, float | None] = {}
        for node in self.graph.nodes:
            known = [s for n in node.all_input_nodes if (s := scale[n]) is not None]
            if node.op == "placeholder":
                scale[node] = 1.0
            elif not known or self.kind[node] == Kind.GLOBAL_POOL:
                scale[node] = None
            else:
                scale[node] = max(known) * self.stride(node)
        return scale

    def stride(self, node: fx.Node) -> int:
        """The spatial stride of a convolution or pool; 1 for anything else."""
        if self.kind[node] not in (Kind.CONV, Kind.POOL):
            return 1
        if node.op == "call_module":
            stride = cast(Any, self.modules[str(node.target)]).stride
        else:
            stride = _argument(node, 2, "stride") or _argument(node, 1, "kernel_size")
        return int(stride[-1] if isinstance(stride, tuple | list) else stride)

    def stem(self) -> set[fx.Node]:
        """The convolutions before the first spatial pool, or, in a network without one, the first."""
        behind: dict[fx.Node, bool] = {}  # behind a pool that shrinks
        behind_conv: dict[fx.Node, bool] = {}
        for node in self.graph.nodes:
            shrinks = self.kind[node] == Kind.POOL and self.stride(node) > 1
            behind[node] = shrinks or any(behind[n] for n in node.all_input_nodes)
            behind_conv[node] = any(behind_conv[n] or self.kind[n] == Kind.CONV for n in node.all_input_nodes)
        convs = [n for n in self.graph.nodes if self.kind[n] == Kind.CONV]
        if any(behind.values()):
            return {n for n in convs if not behind[n] and self._reaches(n, behind)}
        return {n for n in convs if not behind_conv[n]}

    def _reaches(self, node: fx.Node, wanted: dict[fx.Node, bool]) -> bool:
        seen, stack = {node}, [node]
        while stack:
            for user in stack.pop().users:
                if wanted[user]:
                    return True
                if user not in seen:
                    seen.add(user)
                    stack.append(user)
        return False

    def only_feeds_dense(self, node: fx.Node) -> bool:
        """Whether all that uses the value needs it dense: an operation without an octave form, or the output."""
        return all(
            self.only_feeds_dense(user) if self.kind[user] in CHANNELWISE else self.kind[user] == Kind.OTHER
            for user in node.users
        )

    def only_feeds_scale(self, node: fx.Node, scale: float) -> bool:
        """Whether all that takes the value, through norms and activations, are convolutions that give this scale."""
        return bool(node.users) and all(
            self.scale[user] == scale
            if self.kind[user] == Kind.CONV
            else self.kind[user] in (Kind.NORM, Kind.EACH) and self.only_feeds_scale(user, scale)
            for user in node.users
        )

    def pool_sizes(self, node: fx.Node) -> PoolSizes:
        """A pool's kernel, stride and padding in H and W."""
        if node.op == "call_module":
            return sizes_of_pool(self.modules[str(node.target)])
        kernel, stride = _argument(node, 1, "kernel_size"), _argument(node, 2, "stride")
        dilation = 1
        if node.target in (F.max_pool2d, F.max_pool3d):
            dilation = _argument(node, 4, "dilation") or 1
        return pool_sizes(kernel, stride or kernel, _argument(node, 3, "padding") or 0, dilation)

    def groups_fed(self, node: fx.Node) -> list[int]:
        """The group counts of the grouped, not depth-wise, convolutions that take this value."""
        groups: list[int] = []
        for user in node.users:
            if self.kind[user] == Kind.CONV:
                conv = cast(nn.Conv3d, self.modules[str(user.target)])
                if 1 < conv.groups < conv.in_channels:
                    groups.append(conv.groups)
            elif self.kind[user] in CHANNELWISE:
                groups += self.groups_fed(user)
        return groups

    def num_channels(self, node: fx.Node) -> int | None:
        """A dense value's channels, where the operations before it tell."""
        kind = self.kind[node]
        if kind == Kind.CONV:
            return cast(nn.Conv3d, self.modules[str(node.target)]).out_channels
        if kind == Kind.NORM:
            return cast(_BatchNorm, self.modules[str(node.target)]).num_features
        if kind == Kind.CONCATENATE:
            counts = [self.num_channels(n) for n in cast(Iterable[fx.Node], node.args[0])]
            return None if None in counts else sum(cast(list[int], counts))
        if kind in (Kind.EACH, Kind.POOL, Kind.BINARY):
            return self.num_channels(node.all_input_nodes[0])
        return None


def take_channels(x: Tensor, rows: slice | Tensor) -> Tensor:
    """The channels ``rows`` of ``(B, C, ...)``."""
    return x[:, rows]


def _argument(node: fx.Node, position: int, name: str) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name)


def halves(conv: nn.Conv2d | nn.Conv3d) -> bool:
    """Whether a convolution halves height and width, rounded up."""
    return (
        conv.stride[-2:] == (2, 2) and is_zero_padded(conv) and geometry_of(conv).keeps_size(conv.kernel_size)
    )


def _pools_alike(kernel: Pair, stride: Pair, padding: Pair) -> bool:
    """Whether pooling a map and its half gives a map and its half, at every size.

    True of the pools between stages and of those that keep the size; not of a head's 7x7 pool.
    """
    sides = zip(kernel, stride, padding, strict=True)
    return all(k - 2 * p <= (1 if s == 1 else s + 1) for k, s, p in sides)


def _is_one_pixel(size: Any) -> bool:
    return size == 1 or (isinstance(size, tuple | list) and tuple(size[-2:]) == (1, 1))
