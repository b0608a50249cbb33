"""Every map is channels-last from stem to head: one that is not makes all behind it so, or copies."""

import pytest
import torch

from benchmarks.gpu.correctness import stray_maps
from octvideo.models import create_model, optimize


@pytest.mark.parametrize("alpha", [0, 0.25])
def test_every_map_is_channels_last(alpha):
    """Two clips of few pixels: torch gives contiguous maps behind their temporal convolutions."""
    network = create_model("i3d_r50", alpha=alpha, num_classes=3).to(memory_format=torch.channels_last_3d)
    clip = torch.randn(2, 3, 4, 64, 64).to(memory_format=torch.channels_last_3d)
    for candidate in (network.train(), network.eval(), optimize(network)):
        assert stray_maps(candidate, clip) == []
