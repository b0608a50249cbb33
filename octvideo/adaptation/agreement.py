"""How near an octave network is to the dense one, on clips: what it says, and layer by layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from octvideo.adaptation.layers import as_octave, layers_to_fit, plan_and_split
from octvideo.adaptation.norms import norm_behind, through_norm
from octvideo.adaptation.outputs import OnDevice, Outputs, batch_of, head_of, listening, run

# Of what a norm gives. Norms whose scale is 0 give nothing but their shift (residual blocks often start so): what is
# wrong there is small, and not to be divided by nothing.
LEAST_VARIANCE = 1e-4


@dataclass(frozen=True)
class Agreement:
    """Means over clips.

    Attributes:
        top1: share of clips whose most probable class is the dense network's.
        rank: Spearman's correlation of the logits.
        cosine: of the pooled features.
        accuracy, dense_accuracy: top-1 where labels were given.
        layers: by convolution, the error of its normalised output, as a share of the dense one's variance.
        num_clips: how many clips.
    """

    top1: float
    rank: float
    cosine: float
    num_clips: int
    accuracy: float | None = None
    dense_accuracy: float | None = None
    layers: dict[str, float] = field(default_factory=dict)


class LayerErrors:
    """Compares what convolutions give in both networks, on the same clips.

    Outputs are compared as the norm behind each convolution passes them on, the low channels with the dense ones'
    averages over 2x2 pixels.
    """

    def __init__(self, octave: fx.GraphModule, dense: nn.Module) -> None:
        self.paths = layers_to_fit(octave)
        norms = norm_behind(dense)
        self._splits = {p: plan_and_split(cast(Any, octave.get_submodule(p)))[1] for p in self.paths}
        self._norms = {
            p: (octave.get_submodule(norms[p]), dense.get_submodule(norms[p]))
            for p in self.paths
            if p in norms
        }
        self._dense: dict[str, dict[str, Tensor]] = {}
        self.found: dict[str, Tensor] = {}

    def hear_dense(self, path: str, y: Tensor) -> None:
        self._dense[path] = {
            out: self._passed_on(path, out, part, 1) for out, part in as_octave(y, self._splits[path]).items()
        }

    def hear_octave(self, path: str, y: Any) -> None:
        parts = {"high": y} if isinstance(y, Tensor) else {"high": y[0], "low": y[1]}
        wanted = self._dense.pop(path)
        wrong = sum(
            (self._passed_on(path, out, y, 0) - wanted[out]).square().sum() for out, y in parts.items()
        )
        size = cast(Tensor, sum(_centred(y).square().sum() for y in wanted.values()))
        least = 1e-12
        if path in self._norms:
            least = LEAST_VARIANCE * sum(y.numel() for y in wanted.values())
        self.found[path] = cast(Tensor, wrong / size.clamp_min(least))

    def _passed_on(self, path: str, out: str, y: Tensor, which: int) -> Tensor:
        if path not in self._norms:
            return y
        return through_norm(self._norms[path][which], y, list(getattr(self._splits[path], out)))


def _centred(y: Tensor) -> Tensor:
    return y - y.mean((0, *range(2, y.dim())), keepdim=True)


@torch.no_grad()
def compare(
    octave: fx.GraphModule,
    dense: nn.Module,
    clips: Sequence[Tensor],
    labels: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Runs both networks, in evaluation, on clips `(3, T, H, W)`, one by one.

    Args:
        labels: of the clips, for the accuracy; -1 where there is none.
        progress: called with the number of clips done and of all.
    """
    head, errors = head_of(octave), LayerErrors(octave, dense)
    pairs: list[tuple[Outputs, Outputs]] = []
    sums = dict.fromkeys(errors.paths, 0.0)
    clips = OnDevice(clips, octave)
    for index in range(len(clips)):
        clip = batch_of(clips, [index])
        with listening(dense, errors.paths, errors.hear_dense):
            of_dense = run(dense, head, clip)
        with listening(octave, errors.paths, errors.hear_octave):
            pairs.append((run(octave, head, clip), of_dense))
        for path, error in errors.found.items():
            sums[path] += float(error) / len(clips)
        if progress:
            progress(index + 1, len(clips))
    ours, theirs = (torch.cat([pair[i].logits for pair in pairs]).double() for i in (0, 1))
    pooled, wanted = (torch.stack([pair[i].features.mean((0, 1)) for pair in pairs]) for i in (0, 1))
    known = [i for i, label in enumerate(labels or []) if label >= 0]

    def accuracy(logits: Tensor) -> float | None:
        truth = torch.tensor([cast(Sequence[int], labels)[i] for i in known])
        return float((logits[known].argmax(1).cpu() == truth).double().mean()) if known else None

    return Agreement(
        top1=float((ours.argmax(1) == theirs.argmax(1)).double().mean()),
        rank=float(_correlation(_ranks(ours), _ranks(theirs)).mean()),
        cosine=float(nn.functional.cosine_similarity(pooled, wanted).mean()),
        num_clips=len(pairs),
        accuracy=accuracy(ours),
        dense_accuracy=accuracy(theirs),
        layers=sums,
    )


def _ranks(logits: Tensor) -> Tensor:
    return logits.argsort(1).argsort(1).double()


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1)).clamp_min(1e-12)
