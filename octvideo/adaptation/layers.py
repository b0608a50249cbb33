"""Each convolution of an octave network fitted to the dense one's, in the order in which they run.

An octave layer reads averaged maps, and what came before it is no longer the dense network's either. Its weights are
fitted by ridge regression, towards the dense ones, so that on these inputs it gives what the dense layer gives: its
high channels those channels, its low channels their averages over 2x2 pixels. An offset goes into the mean of the norm
behind the layer, or into its bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from octvideo.adaptation.instep import Conv, run_in_step
from octvideo.adaptation.norms import norm_behind
from octvideo.adaptation.outputs import batch_of, listening
from octvideo.adaptation.patches import at_places, draw_places, plan_rows, put_weight_rows, weight_rows
from octvideo.adaptation.ridge import Ridge
from octvideo.engines.resample import downsample
from octvideo.layers import ChannelSplit, OctaveConv2d, OctaveConv3d
from octvideo.layers.flat import dense_plan, is_zero_padded
from octvideo.layers.plan import Plan
from octvideo.layers.sums import Maps

# Of an output, of all clips together: for each column of its matrix, and at least and most. With two a column, which
# is what 8192 are to a 3x3x3 kernel of 150 channels, the fit is half of it to chance.
SAMPLES_PER_COLUMN, LEAST_SAMPLES, MOST_SAMPLES = 8, 8192, 32768
MOST_COLUMNS = 8192  # of a layer's matrix, 256 MB; those of more keep the dense weights
HELD_OUT_SHARE = 4  # one clip in so many chooses the strengths


@dataclass(frozen=True)
class FittedLayer:
    """One output of a layer.

    Attributes:
        path: of the convolution.
        out: "high" or "low".
        strength: of the penalty; None where the weights were kept, but for an offset.
        before, after: error on held-out clips as a share of the dense output's variance.
    """

    path: str
    out: str
    strength: float | None
    before: float
    after: float


@dataclass
class _Target:
    """The dense network's numbers at some places of one clip."""

    places: Tensor
    values: Tensor


def plan_and_split(conv: Conv) -> tuple[Plan, ChannelSplit]:
    """How a convolution runs, and which dense channels its outputs are."""
    if isinstance(conv, OctaveConv2d | OctaveConv3d) and not conv.is_dense:
        return conv.plan, conv.out_split
    return dense_plan(conv), ChannelSplit.high_first(conv.out_channels, 0)


def as_octave(dense: Tensor, split: ChannelSplit) -> dict[str, Tensor]:
    """A dense output as the octave layer should give it."""
    parts = {"high": dense if not split.low else dense[:, list(split.high)]}
    return {**parts, "low": downsample(dense[:, list(split.low)])} if split.low else parts


def fit_layers(
    octave: fx.GraphModule,
    dense: nn.Module,
    clips: Sequence[Tensor],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[FittedLayer]:
    """Fits the convolutions of `octave` in place.

    Memory: all clips' maps between two layers, a square matrix of a layer's inputs times its kernel (5184 for 192
    channels and 3x3x3), and at most MOST_SAMPLES outputs of every layer.

    Args:
        octave: what `octavize` made of `dense`, with its weights.
        dense: the network whose outputs are wanted; both in evaluation.
        clips: `(3, T, H, W)` each, two or more; one in HELD_OUT_SHARE chooses the strengths.
        progress: called with the number of layers done and of all.
    """
    batches = [batch_of(clips, [i]) for i in range(len(clips))]
    held_out = [is_held_out(i, len(clips)) for i in range(len(clips))]
    wanted = layers_to_fit(octave)
    targets = _dense_targets(dense, {p: octave.get_submodule(p) for p in wanted}, batches, seed)
    norms = norm_behind(dense)
    fitted: list[FittedLayer] = []
    done = 0

    def fit(path: str, conv: Conv, inputs: list[Any]) -> None:
        nonlocal done
        if path in wanted:
            norm = octave.get_submodule(norms[path]) if path in norms else None
            fitted.extend(_fit(path, conv, norm, inputs, targets.pop(path), held_out))
            done += 1
            if progress:
                progress(done, len(wanted))

    run_in_step(octave, batches, fit)
    return fitted


def is_held_out(number: int, of: int) -> bool:
    """Whether a clip chooses the strengths, instead of being fitted."""
    return number % HELD_OUT_SHARE == HELD_OUT_SHARE - 1 or number == of - 1


def layers_to_fit(octave: fx.GraphModule) -> list[str]:
    """Convolutions from the first octave one on, that run once, pad with zeros and are not too large."""
    paths = [
        str(n.target)
        for n in octave.graph.nodes
        if n.op == "call_module" and isinstance(octave.get_submodule(str(n.target)), Conv)
    ]
    modules = [octave.get_submodule(path) for path in paths]
    first = next(i for i, m in enumerate(modules) if isinstance(m, OctaveConv2d | OctaveConv3d))
    return [
        path
        for path, conv in list(zip(paths, modules, strict=True))[first:]
        if modules.count(conv) == 1
        and is_zero_padded(cast(nn.Conv3d, conv))
        and cast(nn.Conv3d, conv).weight[0].numel() <= MOST_COLUMNS
    ]


@torch.no_grad()
def _dense_targets(
    dense: nn.Module, layers: dict[str, nn.Module], clips: Sequence[Tensor], seed: int
) -> dict[str, dict[str, list[_Target]]]:
    """By layer and output, for each clip: what the dense layer gives at some places."""
    generator = torch.Generator().manual_seed(seed)
    targets: dict[str, dict[str, list[_Target]]] = {path: {} for path in layers}

    splits = {path: plan_and_split(cast(Conv, conv))[1] for path, conv in layers.items()}
    columns = {path: cast(Conv, conv).weight[0].numel() for path, conv in layers.items()}

    def keep(path: str, output: Tensor) -> None:
        samples = min(max(SAMPLES_PER_COLUMN * columns[path], LEAST_SAMPLES), MOST_SAMPLES)
        for out, y in as_octave(output, splits[path]).items():
            places = draw_places(y.shape[2:], -(-samples // len(clips)), generator)
            targets[path].setdefault(out, []).append(_Target(places, at_places(y, places)))

    with listening(dense, layers, keep):
        for clip in clips:
            dense(clip)
    return targets


def _fit(
    path: str,
    conv: Conv,
    norm: nn.Module | None,
    inputs: list[Any],
    targets: dict[str, list[_Target]],
    held_out: list[bool],
) -> list[FittedLayer]:
    plan, split = plan_and_split(conv)
    is_octave = isinstance(conv, OctaveConv2d | OctaveConv3d) and not conv.is_dense
    weight = (conv.in_order()[0] if is_octave else conv.weight).detach().clone()  # type: ignore[operator]
    fitted = []
    for out in plan.channels:
        rows = weight_rows(plan, out, weight)
        channels = list(getattr(split, out))
        bias = 0 if conv.bias is None else conv.bias.detach()[channels]
        ridge = Ridge(rows, has_offset=norm is not None or conv.bias is not None)
        for x, target, chooses in zip(inputs, targets[out], held_out, strict=True):
            parts = {"high": x} if isinstance(x, Tensor) else dict(zip(("high", "low"), x, strict=True))
            maps = Maps({name: part for name, part in parts.items() if part is not None})
            seen = plan_rows(plan, out, maps, conv.kernel_size, target.places)
            ridge.add(seen, (target.values - bias).unflatten(1, rows.shape[:2]), held_out=chooses)
        fit = ridge.solve()
        put_weight_rows(plan, out, weight, rows + fit.change)
        _add_offset(conv, norm, channels, fit.offset.flatten())
        fitted.append(FittedLayer(path, out, fit.strength, fit.before, fit.after))
    _put_weight(conv, weight)
    return fitted


def _add_offset(conv: Conv, norm: Any, channels: list[int], offset: Tensor) -> None:
    if norm is not None:
        norm.running_mean[channels] -= offset
    elif conv.bias is not None:
        conv.bias.data[channels] += offset


def _put_weight(conv: Conv, in_order: Tensor) -> None:
    """Back from the order with the high rows and columns first."""
    weight = conv.weight.data
    rows, columns = getattr(conv, "_rows", None), getattr(conv, "_columns", None)
    if columns is not None:
        in_order = in_order[:, columns.argsort()]
    if rows is not None:
        in_order = in_order[rows.argsort()]
    weight.copy_(in_order)
