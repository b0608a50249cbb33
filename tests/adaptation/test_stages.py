"""Alphas by stage, under a budget of time: times are given, since those of a test machine are chance."""

import pytest
import torch

from octvideo.adaptation import stages
from octvideo.adaptation.stages import Option, cheapest, choose_alphas
from octvideo.classifier import load_classifier
from octvideo.cli import main
from octvideo.errors import InputError
from octvideo.models import create_model, octavize
from tests.cli_checkpoint import write_checkpoint

FIRST = (Option(0, 0.0, 1.0), Option(0.25, 0.1, 0.95), Option(0.5, 0.4, 0.8))
SECOND = (Option(0, 0.0, 1.0), Option(0.25, 0.2, 0.85), Option(0.5, 0.35, 0.75))


def test_the_least_error_that_the_budget_allows_is_taken() -> None:
    chosen = {budget: [o.alpha for o in cheapest([FIRST, SECOND], budget)] for budget in (0.96, 0.81, 0.6)}
    assert chosen == {0.96: [0.25, 0], 0.81: [0.25, 0.25], 0.6: [0.5, 0.5]}


def test_a_budget_that_no_alphas_meet_is_refused_with_the_least_one() -> None:
    with pytest.raises(InputError, match=r"budget is 0\.5, allowed here is 0\.55 or more"):
        cheapest([FIRST, SECOND], 0.5)


def test_the_stage_that_saves_time_is_the_one_that_becomes_octave(monkeypatch) -> None:
    torch.manual_seed(0)
    dense = create_model("i3d_tiny", num_classes=5).eval()
    of_second = "blocks.2.res_blocks.0.branch2.conv_b"
    monkeypatch.setattr(stages, "_share", lambda twin, *_: 0.7 if of_second in split(twin) else 1.0)
    chosen = choose_alphas(dense, torch.randn(2, 3, 4, 32, 32), 0.8)
    found = split(octavize(dense, 0.0, layer_alphas=chosen))
    assert of_second in found
    assert found < split(octavize(dense, 0.25))


def split(network: torch.nn.Module) -> set[str]:
    """The convolutions with low channels in their output."""
    return {
        path
        for path, module in network.named_modules()
        if hasattr(module, "out_split") and module.out_split.low
    }


def test_the_checkpoint_of_a_budget_has_its_stages(tmp_path, make_video, monkeypatch) -> None:
    monkeypatch.setattr(stages, "_share", lambda *_: 0.9)
    for i in range(4):
        make_video(tmp_path / "videos" / f"{i}.mp4", num_frames=20, size=(48, 64), fps=15)
    dense = write_checkpoint(tmp_path / "dense.ckpt", num_frames=4, test_crop=32, test_short_side=34)
    command = [
        "adapt",
        str(dense),
        "--budget",
        ".95",
        "--videos",
        str(tmp_path / "videos"),
        "--num_workers",
        "0",
    ]
    out = tmp_path / "oct.ckpt"
    assert main([*command, "--out", str(out), "--without", "layers", "features", "last_stage"]) == 0
    adapted = load_classifier(out)
    assert adapted.alpha == 0
    assert adapted.card.layer_alphas == adapted.layer_alphas != {}
    assert split(adapted.network)
