"""A dense network's octave twin, by rewriting its graph: https://arxiv.org/abs/1904.05049.

The network is traced once. Every value then is either dense, one node, or octave: a node for its high and one
for its low frequency, with the dense channel numbers of each (``ChannelSplit``). Convolutions become octave
layers on the same parameters; normalisation, activation, pooling, addition and concatenation run on each
frequency; before any other operation the two are merged. So the twin has the dense network's state dict.
"""

import copy
import fnmatch
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import fx, nn

from octvideo.card import is_octave
from octvideo.engines.resample import DOWNSAMPLE, UPSAMPLE, downsample
from octvideo.errors import InputError
from octvideo.layers.channelwise import crop_to_half, join, merge, pad_to_half, rounding_up, split
from octvideo.layers.conv import octave_conv
from octvideo.layers.flat import FlatConv3d, dense_plan
from octvideo.layers.norm import as_rows, batch_norm
from octvideo.layers.octave import ChannelSplit, check_alpha, split_channels
from octvideo.models.operations import Kind, Operations, halves, take_channels
from octvideo.models.repair import repair
from octvideo.models.trace import trace


@dataclass(frozen=True)
class OctaveValue:
    """A value of the rewritten graph in two frequencies."""

    high: fx.Node
    low: fx.Node
    split: ChannelSplit


Value = fx.Node | OctaveValue


def octavize(
    model: nn.Module,
    alpha: float,
    *,
    dense_stem: bool = True,
    dense_last_stage: bool = True,
    layer_alphas: Mapping[str, float] | None = None,
    downsample: str = "avg_pool",
    upsample: str = "nearest",
    high_to_low: bool = True,
    low_to_high: bool = True,
    channel_multiple: int = 1,
) -> nn.Module:
    """The octave twin of a dense network: the same state dict, less work. ``model`` itself is left alone.

    Every convolution gives ``int(alpha * C)`` low-frequency channels, but for the stem, the last stage, and those
    whose result only feeds operations without an octave form. Every channel stays the dense network's channel:
    the low ones of a concatenation are those of its parts, and a grouped convolution (ResNeXt's) takes its low
    channels from every group alike, so that group g still reads the dense network's group g.

    Args:
        model: a network of 2D or 3D convolutions that ``torch.fx`` can trace.
        alpha: share of low-frequency channels, in [0, 1); 0 gives a plain copy.
        dense_stem: keep the convolutions before the first spatial pool dense, or the first one in a network
            without such a pool (the authors' choice).
        dense_last_stage: keep values of the network's lowest resolution dense (the authors' choice).
        layer_alphas: alphas of their own for some convolutions' outputs, by patterns of their module paths
            (``fnmatch``), of which the last that matches counts; 0 keeps them dense.
        downsample: ``avg_pool`` (the paper's choice) or ``stride``.
        upsample: ``nearest`` (the paper's choice) or ``linear``.
        high_to_low, low_to_high: whether the paths between the frequencies exist (paper, Table 3).
        channel_multiple: round the low groups to a multiple of this, for kernels that want full tiles; the
            paper's rule is 1.

    Raises:
        ValueError: an argument outside its range, a network without a convolution to split or that cannot be
            traced, a layer that cannot be split; the text names the module's path.
    """
    layer_alphas = dict(layer_alphas or {})
    for name, share in {
        "alpha": alpha,
        **{f"layer_alphas[{p!r}]": a for p, a in layer_alphas.items()},
    }.items():
        check_alpha(name, share)
        if share == 1:
            raise InputError(f"{name} is 1; a network needs high-frequency channels too: it must be below 1")
    for name, value, allowed in (("downsample", downsample, DOWNSAMPLE), ("upsample", upsample, UPSAMPLE)):
        if value not in allowed:
            raise InputError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
    if channel_multiple < 1:
        raise InputError(f"channel_multiple is {channel_multiple}; it must be at least 1")
    if not any(isinstance(m, nn.Conv2d | nn.Conv3d) for m in model.modules()):
        raise InputError(f"{type(model).__name__} has no 2D or 3D convolution; there is nothing to octavize")
    model = copy.deepcopy(model)
    if not is_octave(alpha, layer_alphas):
        return model
    rewriter = _Rewriter(
        repair(model),
        {"*": alpha, **layer_alphas},
        channel_multiple,
        {
            "downsample": downsample,
            "upsample": upsample,
            "high_to_low": high_to_low,
            "low_to_high": low_to_high,
        },
    )
    return rewriter.run(dense_stem, dense_last_stage)


class _Rewriter:
    def __init__(
        self, model: nn.Module, alphas: Mapping[str, float], channel_multiple: int, options: dict[str, Any]
    ) -> None:
        self.model = model
        self.channel_multiple = channel_multiple
        self.options = options
        self.modules = dict(model.named_modules())
        self.ops = Operations(trace(model), self.modules)
        self.kind, self.scale = self.ops.kind, self.ops.scale
        self.alphas = self._of_layers(alphas)
        self.graph = fx.Graph()
        self.values: dict[fx.Node, Value] = {}
        self.merged: dict[OctaveValue, fx.Node] = {}
        self.buffers: dict[tuple[int, ...], str] = {}
        self.why_dense: dict[str, str] = {}
        self.num_octave = 0

    def run(self, dense_stem: bool, dense_last_stage: bool) -> fx.GraphModule:
        scales = [self.scale[n] for n in self.ops.graph.nodes if self.kind[n] == Kind.CONV and self.scale[n]]
        self.last_scale = max(cast(list[float], scales), default=0.0) if dense_last_stage else None
        self.stem = self.ops.stem() if dense_stem else set()
        for node in self.ops.graph.nodes:
            self.values[node] = self._rewrite(node)
        if not self.num_octave:
            raise InputError(
                f"{type(self.model).__name__} has no convolution outside its stem and last stage; "
                "pass dense_stem=False or dense_last_stage=False"
            )
        twin = fx.GraphModule(self.model, self.graph, class_name=type(self.model).__name__)
        for name in self.buffers.values():  # torch 2.11 forgets that they stay out of the state dict
            twin.register_buffer(name, twin.get_buffer(name), persistent=False)
        twin.graph.eliminate_dead_code()
        twin.graph.lint()
        twin.recompile()
        lost = set(self.model.state_dict()) ^ set(twin.state_dict())
        if lost:
            raise InputError(
                f"{type(self.model).__name__}.forward does not use {', '.join(sorted(lost))}; "
                "remove what is unused before octavize, so that the state dict stays the same"
            )
        twin.meta["why_dense"] = self.why_dense
        for name, module in twin.named_modules():
            module.training = self.modules[name].training if name in self.modules else self.model.training
        return twin

    def _of_layers(self, alphas: Mapping[str, float]) -> dict[str, float]:
        """Every convolution's alpha, of patterns' ones."""
        convs = [str(n.target) for n in self.ops.graph.nodes if self.kind[n] == Kind.CONV]
        found: dict[str, float] = {}
        for pattern, alpha in alphas.items():
            paths = fnmatch.filter(convs, pattern)
            if not paths:
                raise InputError(
                    f"layer_alphas has {pattern!r}, which matches no convolution; there are {convs[0]} to {convs[-1]}"
                )
            found |= dict.fromkeys(paths, alpha)
        return found

    # Nodes

    def _rewrite(self, node: fx.Node) -> Value:
        inputs = [self.values[n] for n in node.all_input_nodes]
        octave = [v for v in inputs if isinstance(v, OctaveValue)]
        kind = self.kind[node]
        if kind == Kind.CONV:
            return self._conv(node)
        if not octave:
            return self.graph.node_copy(node, lambda n: cast(fx.Node, self.values[n]))
        value: Value | None = None
        if kind == Kind.NORM:
            value = self._norm(node, octave[0])
        elif kind == Kind.EACH:
            value = self._each(node, octave[0])
        elif kind == Kind.POOL:
            value = self._pool(node, octave[0])
        elif kind == Kind.GLOBAL_POOL:
            parts = [self._copy(node, {octave[0]: part}) for part in (octave[0].high, octave[0].low)]
            return self._call(join, *parts, self._order(octave[0].split))
        elif kind == Kind.BINARY:
            value = self._binary(node)
        elif kind == Kind.CONCATENATE:
            value = self._concatenate(node)
        if value is None:
            return self.graph.node_copy(node, lambda n: self._dense(self.values[n]))
        if isinstance(value, OctaveValue) and self._stays_dense(node):
            return self._dense(value)
        return value

    def _stays_dense(self, node: fx.Node) -> bool:
        """Whether a value belongs to the last stage: one of its resolution, or what its first convolutions alone take.

        Source: the authors' ``resnetv1.py`` and ``symbol_resnetv2.py``, in which the 1x1 convolution in front of the
        last stage's 3x3 convolution of stride 2 gives dense output.
        """
        return self.last_scale is not None and (
            self.scale[node] == self.last_scale
            or (self.kind[node] == Kind.CONV and self.ops.only_feeds_scale(node, self.last_scale))
        )

    def _conv(self, node: fx.Node) -> Value:
        path = str(node.target)
        conv = self.modules[path]
        assert isinstance(conv, nn.Conv2d | nn.Conv3d)
        value = self.values[node.all_input_nodes[0]]
        into = value.split if isinstance(value, OctaveValue) else None
        depthwise = conv.groups > 1 and conv.groups == conv.in_channels
        why_dense = self._why_dense(node, path)
        dense_out = why_dense is not None
        if depthwise:
            # Each output channel has the frequency of its one input channel; no path crosses.
            if into is None or dense_out:
                return self._plain_conv(node, value, why_dense or "depth-wise on a dense input")
            out = into.repeat_each(conv.out_channels // conv.in_channels)
        elif into is None and why_dense is not None:
            return self._plain_conv(node, value, why_dense)
        elif dense_out:
            out = ChannelSplit.high_first(conv.out_channels, 0)
        else:
            out = self._out_split(node, path, conv)
        if into is None:
            into = ChannelSplit.high_first(conv.in_channels, 0)
        try:
            if conv.groups > 1 and not depthwise:
                self._check_groups(conv, into, out)
            self.model.set_submodule(path, octave_conv(conv, into, out, **self.options))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        self.num_octave += 1
        if why_dense is not None:
            self.why_dense[path] = why_dense
        if isinstance(value, OctaveValue):
            result = self._module(path, self._tuple(value))
        else:
            result = self._module(path, value)
        return result if dense_out else self._unpack(result, out)

    def _why_dense(self, node: fx.Node, path: str) -> str | None:
        """Why a convolution's output is not split; None if it is."""
        if node in self.stem:
            return "stem"
        if self.alphas[path] == 0:
            return "asked for"
        if self.scale[node] is None:
            return "behind a global pool"
        if self._stays_dense(node):
            return "last stage"
        if self.ops.only_feeds_dense(node):
            return "feeds operations without an octave form"
        return None

    def _plain_conv(self, node: fx.Node, value: Value, why_dense: str) -> fx.Node:
        path, x = str(node.target), self._dense(value)
        conv = cast(nn.Conv3d, self.modules[path])
        self.why_dense[path] = why_dense
        if why_dense == "last stage" and self.options["downsample"] == "avg_pool" and halves(conv):
            # There, too, a stride is an average pool (the authors' networks).
            conv = copy.copy(conv)
            conv.stride = (*conv.stride[:-2], 1, 1)  # type: ignore[assignment]
            if isinstance(conv, FlatConv3d):  # a tracer cannot follow how a plan is made
                conv.plan = dense_plan(conv)
            self.model.set_submodule(path, conv)
            x = self._call(downsample, x)
        return self._module(path, x)

    def _out_split(self, node: fx.Node, path: str, conv: nn.Conv2d | nn.Conv3d) -> ChannelSplit:
        alpha = self.alphas[path]
        high, low = split_channels(conv.out_channels, alpha, self.channel_multiple)
        if not high or not low:
            raise InputError(
                f"{path}: alpha is {alpha}, which leaves {high} high and {low} low of "
                f"{conv.out_channels} channels; both need at least one: take a larger alpha or a wider network"
            )
        blocks = max([conv.groups, *self.ops.groups_fed(node)])
        if high % blocks or low % blocks:
            raise InputError(
                f"{path}: alpha is {alpha}, which leaves {high} high and {low} low of "
                f"{conv.out_channels} channels for {blocks} groups; both must be multiples of {blocks}"
            )
        return ChannelSplit.in_blocks(high, low, blocks)

    def _check_groups(self, conv: nn.Conv2d | nn.Conv3d, into: ChannelSplit, out: ChannelSplit) -> None:
        """A grouped layer keeps its channels' meaning where every group holds the same share of each frequency."""
        for name, part in (("input", into), ("output", out)):
            if part.low and (
                len(part.low) % conv.groups
                or part != ChannelSplit.in_blocks(len(part.high), len(part.low), conv.groups)
            ):
                raise InputError(
                    f"groups is {conv.groups} with {len(part.low)} of {part.channels} {name} channels low; "
                    "every group needs the same number of low channels: choose another alpha"
                )

    def _norm(self, node: fx.Node, value: OctaveValue) -> OctaveValue:
        norm = self.graph.get_attr(str(node.target))
        rows = (self._rows(value.split.high), self._rows(value.split.low))
        result = self._call(batch_norm, norm, self._tuple(value), rows)
        return self._unpack(result, value.split)

    def _each(self, node: fx.Node, value: OctaveValue) -> OctaveValue:
        high, low = (self._copy(node, {value: part}) for part in (value.high, value.low))
        return OctaveValue(high, low, value.split)

    def _pool(self, node: fx.Node, value: OctaveValue) -> OctaveValue:
        high = self._copy(node, {value: value.high})
        padded = self._call(pad_to_half, value.low, high, self.ops.pool_sizes(node))
        if node.op == "call_module":
            path = f"{node.target}_low"
            if path not in self.modules:
                self.modules[path] = rounding_up(self.modules[str(node.target)])
                self.model.set_submodule(path, self.modules[path])
            low = self._module(path, padded)
        else:
            low = self._copy(node, {value: padded})
            low.kwargs = {**low.kwargs, "ceil_mode": True}
        return OctaveValue(high, self._call(crop_to_half, low, high), value.split)

    def _binary(self, node: fx.Node) -> Value | None:
        """Addition and the like: by frequency, in the split of the first octave operand."""
        nodes = [a for a in node.args if isinstance(a, fx.Node)]
        values = [self.values[n] for n in nodes]
        first = next(v for v in values if isinstance(v, OctaveValue))
        parts: dict[Value, tuple[fx.Node, fx.Node]] = {}
        for n, value in zip(nodes, values, strict=True):
            if isinstance(value, OctaveValue) and value.split == first.split:
                parts[value] = (value.high, value.low)
            elif self.scale[n] is None:
                # One number a channel, such as squeeze-excitation's: no pixels to average.
                dense = self._dense(value)
                high, low = (self._rows(rows) for rows in (first.split.high, first.split.low))
                parts[value] = (
                    self._call(take_channels, dense, high),
                    self._call(take_channels, dense, low),
                )
            elif self._stays_dense(node):
                return None
            else:
                rows = (self._rows(first.split.high), self._rows(first.split.low))
                pair = self._unpack(self._call(split, self._dense(value), *rows), first.split)
                parts[value] = (pair.high, pair.low)
        high, low = (
            self.graph.node_copy(node, lambda n, i=i: parts[self.values[n]][i])  # type: ignore[misc]
            for i in (0, 1)
        )
        return OctaveValue(high, low, first.split)

    def _concatenate(self, node: fx.Node) -> OctaveValue | None:
        values = [self.values[n] for n in cast(Iterable[fx.Node], node.args[0])]
        channels = [self.ops.num_channels(n) for n in cast(Any, node.args[0])]
        splits: list[ChannelSplit] = []
        for value, count in zip(values, channels, strict=True):
            if isinstance(value, OctaveValue):
                splits.append(value.split)
            elif count is None:
                return None
            else:
                splits.append(ChannelSplit.high_first(count, 0))
        high = [v.high if isinstance(v, OctaveValue) else v for v in values]
        low = [v.low for v in values if isinstance(v, OctaveValue)]
        cat = cast(Callable[..., Any], node.target)
        return OctaveValue(
            self._call(cat, high, 1), self._call(cat, low, 1), ChannelSplit.concatenate(splits)
        )

    # Building blocks

    def _call(self, function: Callable[..., Any], *args: Any) -> fx.Node:
        return self.graph.call_function(function, args)

    def _module(self, path: str, *args: Any) -> fx.Node:
        return self.graph.call_module(path, args)

    def _copy(self, node: fx.Node, replace: dict[Value, fx.Node]) -> fx.Node:
        return self.graph.node_copy(
            node,
            lambda n: replace[self.values[n]] if self.values[n] in replace else self._dense(self.values[n]),
        )

    def _tuple(self, value: OctaveValue) -> Any:
        return (value.high, value.low)

    def _unpack(self, node: fx.Node, split: ChannelSplit) -> OctaveValue:
        return OctaveValue(
            self._call(operator.getitem, node, 0), self._call(operator.getitem, node, 1), split
        )

    def _dense(self, value: Value) -> fx.Node:
        if isinstance(value, fx.Node):
            return value
        if value not in self.merged:
            self.merged[value] = self._call(
                merge, value.high, value.low, self._order(value.split), self.options["upsample"]
            )
        return self.merged[value]

    def _order(self, split: ChannelSplit) -> fx.Node | None:
        order = split.merge_order
        return None if order == tuple(range(split.channels)) else self._constant(order)

    def _rows(self, indices: tuple[int, ...]) -> Any:
        rows = as_rows(indices)
        return rows if isinstance(rows, slice) else self._constant(indices)

    def _constant(self, indices: tuple[int, ...]) -> fx.Node:
        """Channel numbers as a buffer that moves with the network and stays out of its state dict."""
        if indices not in self.buffers:
            name = f"_channels_{len(self.buffers)}"
            self.model.register_buffer(name, torch.tensor(indices), persistent=False)
            self.buffers[indices] = name
        return self.graph.get_attr(self.buffers[indices])
