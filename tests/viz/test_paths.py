"""The picture of a layer's plan: what it says is what the layer does."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from octvideo import viz
from octvideo.layers import OctaveConv2d, OctaveConv3d

STRIDES = {"high, high": 2, "low, high": 4, "low, low": 2}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_paths_are_the_weights_blocks() -> None:
    layer = OctaveConv3d(8, 16, 3, padding=1, alpha_in=0.25, alpha_out=0.5)
    paths = {(path.into, path.out): path for path in viz.paths_of(layer)}
    assert paths["high", "low"].weight_shape == (8, 6, 3, 3, 3)
    assert paths["low", "high"].weight_shape == (8, 2, 3, 3, 3)
    assert sum(np.prod(path.weight_shape) for path in paths.values()) == layer.weight.numel()
    assert sum(path.share for path in paths.values()) == pytest.approx(1)
    alone = OctaveConv3d(8, 8, 3, padding=1, alpha_in=0.5, alpha_out=0.5, low_to_high=False)
    assert ("low", "high") not in {(path.into, path.out) for path in viz.paths_of(alone)}


def test_the_drawing_has_the_shapes_and_the_resampling() -> None:
    layer = OctaveConv3d(8, 16, 3, padding=1, alpha_in=0.25, alpha_out=0.5)
    drawn = texts(viz.plot_paths(layer, (8, 14, 14)))
    assert {"high in\n6 x 8 x 14 x 14", "low in\n2 x 8 x 7 x 7"} <= set(drawn)
    assert {"high out\n8 x 8 x 14 x 14", "low out\n8 x 8 x 7 x 7"} <= set(drawn)
    assert "W[low, high], 38%\n8 x 6 x 3 x 3 x 3" in drawn
    assert [text for text in drawn if "2 x 2" in text] == ["average 2 x 2", "repeat 2 x 2"]


def test_a_halving_layer_averages_more_and_repeats_nothing() -> None:
    layer = OctaveConv2d(8, 8, 3, stride=2, padding=1, alpha_in=0.5, alpha_out=0.5)
    drawn = texts(viz.plot_paths(layer, (16, 16)))
    assert "low out\n4 x 4 x 4" in drawn
    averages = [text for text in drawn if text.startswith(("average", "repeat"))]
    assert averages == ["average 2 x 2", "average 4 x 4", "average 2 x 2"]
    layer = OctaveConv2d(8, 8, 3, stride=2, padding=1, alpha_in=0.5, alpha_out=0.5, downsample="stride")
    strides = [text.split("\n")[0] for text in texts(viz.plot_paths(layer, (16, 16))) if "stride" in text]
    assert strides == [f"W[{path}], 25%, stride {stride}" for path, stride in STRIDES.items()]


@pytest.mark.parametrize("alphas", [(0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.25, 0.25)])
def test_boxes_are_whole_and_apart(alphas: tuple[float, float]) -> None:
    """No box is cut off at the edge, none covers another, and every text is within its box."""
    layer = OctaveConv3d(64, 64, 3, padding=1, alpha_in=alphas[0], alpha_out=alphas[1])
    figure = viz.plot_paths(layer, (8, 56, 56))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    patches = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    boxes = [patch.get_window_extent() for patch in patches]
    assert all(axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max) for box in boxes)
    assert not [one for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]
    for text in axes.texts[3:]:  # behind the heads of the columns
        extent = text.get_window_extent()
        assert any(box.contains(*extent.min) and box.contains(*extent.max) for box in boxes), text
