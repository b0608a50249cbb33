"""What a network gives for clips, and what its convolutions give on the way."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn


class OnDevice(Sequence[Tensor]):
    """Clips, each on a network's device when it is asked for."""

    def __init__(self, clips: Sequence[Tensor], network: nn.Module) -> None:
        self._clips, self._device = clips, next(network.parameters()).device

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: Any) -> Any:
        return self._clips[index].to(self._device)


class Part(Sequence[Tensor]):
    """Some of the clips, by their numbers."""

    def __init__(self, clips: Sequence[Tensor], numbers: Sequence[int]) -> None:
        self._clips, self._numbers = clips, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        return self._clips[self._numbers[index]]


def batch_of(clips: Sequence[Tensor], numbers: Iterable[int]) -> Tensor:
    """Some of the clips, `(B, 3, T, H, W)`, channels-last: what networks are fast on."""
    some = torch.stack([clips[i] for i in numbers])
    return some.contiguous(memory_format=torch.channels_last_3d)


@dataclass(frozen=True)
class Outputs:
    """Of B clips.

    Attributes:
        features: what the classifying layer reads, `(B, P, F)`, at P positions.
        logits: `(B, C)`.
    """

    features: Tensor
    logits: Tensor


def head_of(octave: fx.GraphModule) -> str:
    """The path of the layer that classifies: the last one with weights."""
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    calls = [str(n.target) for n in octave.graph.nodes if n.op == "call_module"]
    return [path for path in calls if isinstance(octave.get_submodule(path), kinds)][-1]


def run(network: nn.Module, head: str, *inputs: Tensor) -> Outputs:
    """Runs a network on clips `(B, 3, T, H, W)`, or a part of one on what it reads."""
    layer, seen = network.get_submodule(head), []
    handle = layer.register_forward_pre_hook(lambda _, read: seen.append(read[0]))
    try:
        logits = network(*inputs)
    finally:
        handle.remove()
    (x,) = seen
    if not isinstance(layer, nn.Linear):
        x = x.movedim(1, -1)
    return Outputs(x.reshape(len(inputs[0]), -1, x.shape[-1]), logits)


class DenseOutputs:
    """What the dense network gives for clips, computed once for each.

    Args:
        dense: in evaluation.
        clips: `(3, T, H, W)` each.
        head: the path of its classifying layer.
    """

    def __init__(self, dense: nn.Module, clips: Sequence[Tensor], head: str) -> None:
        self._dense, self._clips, self._head = dense, clips, head
        self._known: dict[int, Outputs] = {}

    def __call__(self, numbers: list[int]) -> Outputs:
        """Of some clips, by their numbers."""
        with torch.no_grad():
            for number in (n for n in numbers if n not in self._known):
                self._known[number] = run(self._dense, self._head, batch_of(self._clips, [number]))
        some = [self._known[number] for number in numbers]
        return Outputs(torch.cat([one.features for one in some]), torch.cat([one.logits for one in some]))

    @torch.no_grad()
    def distance(self, octave: nn.Module) -> float:
        """How far an octave network, in evaluation, is from these outputs: the mean over the clips.

        Of a clip it is the errors of features and logits together, as shares of the dense ones' squares.
        """
        errors = []
        for number in range(len(self._clips)):
            found, wanted = run(octave, self._head, batch_of(self._clips, [number])), self([number])
            errors.append(
                relative_error(found.features, wanted.features) + relative_error(found.logits, wanted.logits)
            )
        return float(torch.stack(errors).mean())


@contextmanager
def listening(network: nn.Module, paths: Iterable[str], hear: Callable[[str, Any], None]) -> Iterator[None]:
    """Calls `hear` with the path and the output of each of some modules, whenever they run."""
    handles = [
        network.get_submodule(path).register_forward_hook(lambda _, __, y, path=path: hear(path, y))
        for path in paths
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error, as a share of the wanted numbers' squares."""
    return (found - wanted).square().sum() / wanted.square().sum().clamp_min(1e-12)
