"""A network compiled for this machine, loaded by torch alone; octvideo refuses to load it."""

import json
from dataclasses import replace

import pytest
import torch

from octvideo.card import Card
from octvideo.classifier import load_classifier
from octvideo.cli import main
from octvideo.models.checkpoints import CheckpointError
from octvideo.models.compiled import compile_network
from octvideo.models.export import ExportError
from octvideo.models.exported import load_exported
from tests.cli_checkpoint import write_checkpoint

CARD = Card(name="i3d_tiny", alpha=0.25, num_classes=3, num_frames=4, test_crop=32, test_short_side=32)


def test_another_name_is_refused(tmp_path) -> None:
    with pytest.raises(ExportError, match=r"must end in \.pt2"):
        compile_network(torch.nn.Identity(), tmp_path / "net.onnx", input_shape=(4, 32, 32), card=CARD)


@pytest.mark.slow
def test_a_compiled_network_gives_the_networks_logits(tmp_path, capsys) -> None:
    card = {"num_frames": 4, "test_crop": 32, "test_short_side": 32}
    checkpoint, file = write_checkpoint(tmp_path / "net.ckpt", alpha=0.25, **card), tmp_path / "net.pt2"
    assert main(["export", str(checkpoint), str(file), "--compile"]) == 0
    assert "i3d_tiny, alpha 0.25, clip (B, 3, 4, 32, 32) to logits (B, 2)" in capsys.readouterr().out
    compiled = torch._inductor.aoti_load_package(str(file))
    clip, classifier = torch.randn(5, 3, 4, 32, 32), load_classifier(checkpoint)
    with torch.no_grad():
        torch.testing.assert_close(compiled(clip), classifier(clip), atol=1e-4, rtol=1e-4)
    found = Card.from_dict(json.loads(compiled.get_metadata()["model_card"]))
    assert replace(found, version="") == replace(classifier.card, version="")
    with pytest.raises(CheckpointError, match="refused, it holds a compiled program"):
        load_exported(file)
