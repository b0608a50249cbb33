"""What belongs to a network beside its layers: the clip it takes, how its pixels are made, what it reached."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Published:
    """A result on Kinetics-400's validation set, with the recipe's views.

    Args:
        top1: per cent.
        top5: per cent.
        source: whose weights and measurement.
        differs: in what it was measured otherwise than the recipe measures; nothing where the rules are the same.
    """

    top1: float
    top5: float
    source: str
    differs: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """A network and the recipe of its published weights; the defaults are those of pytorchvideo's model zoo.

    Args:
        build: makes the dense network for a number of classes.
        num_frames: frames of a clip.
        frame_stride: from one frame of a clip to the next, in frames at `fps` a second.
        crop: height and width in training, in pixels.
        short_side: least and most pixels of the short side in training.
        test_short_side: pixels of the short side in evaluation.
        test_crop: height and width in evaluation, in pixels.
        fps: frames a second that `frame_stride` counts in.
        mean: of red, green, blue, in 0 to 1.
        std: of red, green, blue, in 0 to 1.
        num_clips: along the video, in evaluation.
        num_crops: of a clip, in evaluation.
        published: the result of the published weights; None where there are none.
    """

    build: Callable[[int], nn.Module]
    num_frames: int
    frame_stride: int
    crop: int
    short_side: tuple[int, int] = (256, 320)
    test_short_side: int = 256
    test_crop: int = 256
    fps: float = 30.0
    mean: tuple[float, float, float] = (0.45, 0.45, 0.45)
    std: tuple[float, float, float] = (0.225, 0.225, 0.225)
    num_clips: int = 10
    num_crops: int = 3
    published: Published | None = None

    @property
    def input_shape(self) -> tuple[int, int, int, int, int]:
        """``(1, 3, T, H, W)`` in training."""
        return 1, 3, self.num_frames, self.crop, self.crop

    @property
    def recipe(self) -> dict[str, Any]:
        """The model card's settings, under the names that ``KineticsDataModule`` has for them."""
        return {
            "num_frames": self.num_frames,
            "frame_stride": self.frame_stride,
            "fps": self.fps,
            "short_side": list(self.short_side),
            "crop": self.crop,
            "test_short_side": self.test_short_side,
            "test_crop": self.test_crop,
            "num_clips": self.num_clips,
            "num_crops": self.num_crops,
            "mean": list(self.mean),
            "std": list(self.std),
        }


def kinetics400_names() -> list[str]:
    """Kinetics-400's class names in the order of the published heads: alphabetical, as torchvision ships them."""
    from torchvision.models.video import R3D_18_Weights

    return list(R3D_18_Weights.KINETICS400_V1.meta["categories"])
