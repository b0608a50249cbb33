"""Which alpha each stage of a network gets: the least error under a budget of time, both measured here.

A stage is the convolutions whose outputs have one resolution. Each stage alone is made octave at each of a few alphas:
what that does to features and logits, and what time it saves. Both are added up over the stages, and of all
combinations that take the budget or less the one with the least error is taken.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from octvideo.adaptation.outputs import DenseOutputs, Part, batch_of, head_of
from octvideo.errors import InputError
from octvideo.layers import OctaveConv2d, OctaveConv3d
from octvideo.models import octavize, optimize
from octvideo.models.operations import Kind, Operations
from octvideo.models.trace import trace
from octvideo.timing import interleave, ratio

ALPHAS = (0.125, 0.25, 0.5)
CLIPS, ROUNDS = 4, 5  # that an error and a time are measured on


@dataclass(frozen=True)
class Option:
    """A stage at an alpha.

    Attributes:
        alpha: 0 is the stage left dense.
        error: of features and logits, each as a share of the dense ones' squares, with this stage alone octave.
        share: of the dense network's time, with this stage alone octave.
    """

    alpha: float
    error: float
    share: float


def choose_alphas(
    dense: nn.Module,
    clips: Sequence[Tensor],
    budget: float,
    *,
    channel_multiple: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Octave ratios of a network's stages, `layer_alphas` of `octavize`; the last stage stays dense, as there.

    Args:
        dense: in evaluation.
        clips: `(3, T, H, W)` each, on its device; the first CLIPS are used.
        budget: share of the dense network's time, above 0 and below 1.
        progress: called with the number of measurements done and of all.

    Raises:
        InputError: no combination is that fast here.
    """
    some = Part(clips, range(min(CLIPS, len(clips))))
    widest = cast(fx.GraphModule, octavize(dense, max(ALPHAS)))
    stages, wanted = _stages(dense, widest), DenseOutputs(dense, some, head_of(widest))
    measured: dict[str, list[Option]] = {}
    for done, (stage, alpha) in enumerate(itertools.product(stages, ALPHAS)):
        of_stage = measured.setdefault(stage, [Option(0.0, 0.0, 1.0)])
        alphas = dict.fromkeys(stages[stage], alpha)
        try:
            twin = octavize(dense, 0.0, channel_multiple=channel_multiple, layer_alphas=alphas)
        except InputError:  # too few channels for so small a share, or groups that it does not divide
            continue
        of_stage.append(Option(alpha, wanted.distance(twin), _share(twin, dense, batch_of(some, [0]))))
        if progress:
            progress(done + 1, len(stages) * len(ALPHAS))
    chosen = cheapest(list(measured.values()), budget)
    return {
        path: option.alpha
        for stage, option in zip(measured, chosen, strict=True)
        for path in ([stage] if "*" in stage else stages[stage])
        if option.alpha
    }


def cheapest(stages: Sequence[Sequence[Option]], budget: float) -> tuple[Option, ...]:
    """An option a stage: those with the least error, of all that take the budget or less together.

    Raises:
        InputError: there are none.
    """

    def share(options: Sequence[Option]) -> float:
        return 1 - sum(1 - option.share for option in options)

    every = list(itertools.product(*stages))
    fast = [options for options in every if share(options) <= budget]
    if not fast:
        raise InputError(
            f"budget is {budget:g}, allowed here is {min(map(share, every)):.2f} or more: the least share of the "
            f"dense time that alphas up to {max(ALPHAS):g} take"
        )
    return min(fast, key=lambda options: sum(option.error for option in options))


def _stages(dense: nn.Module, twin: nn.Module) -> dict[str, list[str]]:
    """The convolutions that an octave network, the twin, splits, by a pattern that matches those of a stage alone.

    Where there is none the stage has the path of its first one.
    """
    ops = Operations(trace(dense), dict(dense.named_modules()))
    convs = [(str(node.target), ops.scale[node]) for node in ops.graph.nodes if ops.kind[node] == Kind.CONV]
    found: dict[Any, list[str]] = {}
    for path, scale in convs:
        layer = twin.get_submodule(path)
        if isinstance(layer, OctaveConv2d | OctaveConv3d) and layer.out_split.low:
            found.setdefault(scale, []).append(path)
    named: dict[str, list[str]] = {}
    for paths in found.values():
        pattern = f"{os.path.commonprefix(paths)}*"  # noqa: RUF071, up to a letter: "features.mixed_4*"
        alone = [path for path, _ in convs if fnmatch(path, pattern)] == paths
        named[pattern if alone else paths[0]] = paths
    return named


@torch.inference_mode()
def _share(twin: nn.Module, dense: nn.Module, clip: Tensor) -> float:
    """The twin's time over the dense network's, both ready for inference: the median over rounds."""
    runs = {"twin": partial(optimize(twin), clip), "dense": partial(optimize(dense), clip)}
    timings = interleave(runs, rounds=ROUNDS, device=clip.device.type)
    return ratio(timings["twin"], timings["dense"]).median
