"""Which convolutions' output channels are the same channels: those of a residual stream, for one.

A traced network's values are runs of channels, one run a convolution; a concatenation is several. An addition makes
its operands' runs one. What an operation without an octave form reads stays as it is.
"""

import math
from dataclasses import dataclass, field
from typing import Any, cast

from torch import fx, nn

from octvideo.models.operations import Kind, Operations
from octvideo.models.trace import trace

Runs = tuple[int, ...]  # numbers of runs, in the order of the channels


@dataclass
class Run:
    """Channels that move together.

    Attributes:
        channels: how many.
        blocks: grouped convolutions read them in so many blocks, which no channel may leave.
        writers: paths of the convolutions that give them.
        norms: paths of norms of these and other channels, with the number of the first of these there.
        readers: paths of the convolutions that read them, with the number of the first of these there.
        is_fixed: whether they have to stay where they are.
    """

    channels: int
    blocks: int = 1
    writers: list[str] = field(default_factory=list)
    norms: list[tuple[str, int]] = field(default_factory=list)
    readers: list[tuple[str, int]] = field(default_factory=list)
    is_fixed: bool = False


def tied_channels(network: nn.Module) -> list[Run]:
    """The runs of a network's channels that may be put in another order, without changing what it gives.

    Raises:
        ValueError: the network cannot be traced.
    """
    return _Tracer(network).run()


class _Tracer:
    def __init__(self, network: nn.Module) -> None:
        self.modules = dict(network.named_modules())
        self.ops = Operations(trace(network), self.modules)
        self.runs: list[Run] = []
        self.same: list[int] = []  # the run that a run has become part of
        self.values: dict[fx.Node, Runs | None] = {}  # None: nothing is known of its channels

    def run(self) -> list[Run]:
        for node in self.ops.graph.nodes:
            self.values[node] = self._value(node)
        called = [str(n.target) for n in self.ops.graph.nodes if n.op == "call_module"]
        kept: dict[int, Run] = {}
        for number, run in enumerate(self.runs):
            root = self._root(number)
            if root not in kept:
                kept[root] = Run(run.channels)
            one = kept[root]
            one.writers += run.writers
            one.norms += run.norms
            one.readers += run.readers
            one.blocks = math.lcm(one.blocks, run.blocks)
            twice = any(called.count(path) > 1 for path, *_ in self._users(run))
            one.is_fixed = one.is_fixed or run.is_fixed or twice
        return [run for run in kept.values() if not run.is_fixed]

    def _users(self, run: Run) -> list[tuple[Any, ...]]:
        return [*((path,) for path in run.writers), *run.norms, *run.readers]

    def _root(self, number: int) -> int:
        while self.same[number] != number:
            number = self.same[number]
        return number

    def _value(self, node: fx.Node) -> Runs | None:
        kind = self.ops.kind[node]
        inputs = [self.values[n] for n in node.all_input_nodes]
        if kind == Kind.CONV:
            return self._conv(node, inputs[0])
        if kind == Kind.NORM and inputs[0] is not None:
            self._note(inputs[0], lambda run, first: run.norms.append((str(node.target), first)))
            return inputs[0]
        if kind in (Kind.EACH, Kind.POOL, Kind.GLOBAL_POOL):
            return inputs[0]
        if kind == Kind.CONCATENATE:
            parts = [self.values[n] for n in cast(Any, node.args[0])]
            if all(part is not None for part in parts):
                return tuple(number for part in parts for number in cast(Runs, part))
        if kind == Kind.BINARY:
            if len(inputs) == 1:  # with a number, or with itself
                return inputs[0]
            if len(inputs) == 2 and self._unite(*inputs):
                return inputs[0]
        for value in inputs:
            self._fix(value)
        return None

    def _conv(self, node: fx.Node, value: Runs | None) -> Runs:
        path = str(node.target)
        conv = cast(nn.Conv3d, self.modules[path])
        depthwise = conv.groups == conv.in_channels > 1
        if depthwise and value is not None and conv.out_channels == conv.in_channels:
            # A channel in is a channel out: the weight's rows move with it, as a norm's do.
            self._note(value, lambda run, first: run.norms.append((path, first)))
            return value
        if value is not None:
            self._note(value, lambda run, first: run.readers.append((path, first)))
            if conv.groups > 1:
                if depthwise or len(value) > 1:
                    self._fix(value)
                else:
                    run = self.runs[value[0]]
                    run.blocks = math.lcm(run.blocks, conv.groups)
        out = Run(conv.out_channels, conv.groups, [path])
        out.is_fixed = depthwise
        self.runs.append(out)
        self.same.append(len(self.same))
        return (len(self.runs) - 1,)

    def _note(self, value: Runs, note: Any) -> None:
        first = 0
        for number in value:
            note(self.runs[number], first)
            first += self.runs[number].channels

    def _unite(self, a: Runs | None, b: Runs | None) -> bool:
        """Whether both could be made the same channels."""
        if a is None or b is None or [self.runs[n].channels for n in a] != [self.runs[n].channels for n in b]:
            return False
        for one, other in zip(a, b, strict=True):
            self.same[self._root(other)] = self._root(one)
        return True

    def _fix(self, value: Runs | None) -> None:
        for number in value or ():
            self.runs[number].is_fixed = True
