"""A network compiled for this machine, loaded by torch alone; octvideo refuses to load it."""

import json

import pytest
import torch

from octvideo.card import Card
from octvideo.models import create_model
from octvideo.models.checkpoints import CheckpointError
from octvideo.models.compiled import compile_network
from octvideo.models.export import ExportError
from octvideo.models.exported import exported_card, load_exported, read_exported

CARD = Card(name="i3d_tiny", alpha=0.25, num_classes=3, num_frames=4, test_crop=32, test_short_side=32)


def test_another_name_is_refused(tmp_path) -> None:
    with pytest.raises(ExportError, match=r"must end in \.pt2"):
        compile_network(torch.nn.Identity(), tmp_path / "net.onnx", input_shape=(4, 32, 32), card=CARD)


@pytest.mark.slow
def test_a_compiled_network_gives_the_networks_logits(tmp_path) -> None:
    network = create_model("i3d_tiny", alpha=0.25, num_classes=3).eval()
    file = tmp_path / "net.pt2"
    assert compile_network(network, file, input_shape=(4, 32, 32), card=CARD) < 1e-3
    compiled = torch._inductor.aoti_load_package(str(file))
    clip = torch.randn(5, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(compiled(clip), network(clip), atol=1e-4, rtol=1e-4)
    assert Card.from_dict(json.loads(compiled.get_metadata()["model_card"])) == CARD
    content = read_exported(file)
    for load in (load_exported, exported_card):
        with pytest.raises(CheckpointError, match="refused, it holds a compiled program"):
            load(file, content)
