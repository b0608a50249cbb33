"""What belongs to a network beside its layers: the card of its published weights, and what its layers are called."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from octvideo.card import Card, Published


@dataclass(frozen=True)
class ModelSpec:
    """A network and the card of its published weights.

    Args:
        build: makes the dense network for a number of classes.
        card: clip, pixels and views of the published weights, and their result; no class names, which are those of a
            number of classes.
        head: the path of the layer that maps features to classes.
        blocks: a regular expression for the paths of the residual blocks; empty where there are none.
    """

    build: Callable[[int], nn.Module]
    card: Card
    head: str
    blocks: str = ""

    @property
    def published(self) -> Published | None:
        """The result of the published weights; None where there are none."""
        return self.card.published

    @property
    def input_shape(self) -> tuple[int, int, int, int, int]:
        """``(1, 3, T, H, W)`` in training."""
        return 1, 3, self.card.num_frames, self.card.crop, self.card.crop


def kinetics400_names() -> list[str]:
    """Kinetics-400's class names in the order of the published heads: alphabetical, as torchvision ships them."""
    from torchvision.models.video import R3D_18_Weights

    return list(R3D_18_Weights.KINETICS400_V1.meta["categories"])
