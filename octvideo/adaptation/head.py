"""The classifying layer fitted to the dense one's logits, by ridge regression on the octave network's features.

What a few clips say of a thousand features is little, so the penalty is chosen on other clips. The bias alone mends
much: features that are off by the same numbers for every clip make every clip the same class.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, fx, nn

from octvideo.adaptation.layers import FittedLayer, is_held_out
from octvideo.adaptation.outputs import batch_of, head_of, listening, run
from octvideo.adaptation.ridge import Ridge

BATCH = 4  # clips at once


@torch.no_grad()
def fit_head(octave: fx.GraphModule, dense: nn.Module, clips: Sequence[Tensor]) -> list[FittedLayer]:
    """Fits the classifying layer of `octave` in place, where it is linear; convolutions are `fit_layers`'.

    Args:
        octave, dense: both in evaluation.
        clips: `(3, T, H, W)` each, two or more.
    """
    path = head_of(octave)
    head = octave.get_submodule(path)
    if not isinstance(head, nn.Linear):
        return []
    ridge = Ridge(head.weight[None].clone(), has_offset=head.bias is not None)
    chooses = [number for number in range(len(clips)) if is_held_out(number, len(clips))]
    fits = [number for number in range(len(clips)) if number not in chooses]
    for numbers in (fits, chooses):
        for first in range(0, len(numbers), BATCH):
            some, heard = batch_of(clips, numbers[first : first + BATCH]), cast(list[Tensor], [])
            with listening(dense, [path], lambda _, y, heard=heard: heard.append(y)):  # type: ignore[misc]
                run(dense, some, path)
            features = run(octave, some, path).features.flatten(0, 1)
            wanted = heard[0].reshape(len(features), head.out_features)
            if head.bias is not None:
                wanted = wanted - head.bias
            ridge.add(features[:, None], wanted[:, None], held_out=numbers is chooses)
    fit = ridge.solve()
    head.weight.add_(fit.change[0])
    if head.bias is not None:
        head.bias.add_(fit.offset[0])
    return [FittedLayer(path, "high", fit.strength, fit.before, fit.after)]
