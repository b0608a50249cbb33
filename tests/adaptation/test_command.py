"""`octvideo adapt`, and what it writes as the other commands take it."""

import pytest
import torch

from octvideo.adaptation import Adaptation, Budget, adapt
from octvideo.adaptation.adapt import check_settings
from octvideo.adaptation.state import State
from octvideo.classifier import load_classifier
from octvideo.cli import main
from octvideo.errors import InputError
from octvideo.models import create_model, octavize
from tests.cli_checkpoint import write_checkpoint
from tests.models.networks import randomise_norms


def test_a_dense_checkpoint_becomes_an_octave_one_that_predict_takes(tmp_path, make_video, capsys) -> None:
    for i in range(8):
        make_video(tmp_path / "videos" / f"{i}.mp4", num_frames=20 + i, size=(48, 64), fps=15)
    dense = write_checkpoint(tmp_path / "dense.ckpt", num_frames=4, test_crop=32, test_short_side=34)
    out, videos = tmp_path / "oct.ckpt", str(tmp_path / "videos")
    command = [
        "adapt",
        str(dense),
        "--alpha",
        ".25",
        "--videos",
        videos,
        "--out",
        str(out),
        "--num_workers",
        "0",
    ]
    assert main([*command, "--steps", "2"]) == 0
    assert "octave" not in capsys.readouterr().err
    adapted = load_classifier(out)
    assert (adapted.alpha, adapted.card.test_crop) == (0.25, 32)
    assert out.with_suffix(".html").is_file()
    assert out.with_suffix(".json").is_file()
    assert not out.with_name("oct.ckpt.part").exists()
    run = ["predict", str(out), f"{videos}/0.mp4", "--trainer.default_root_dir", str(tmp_path / "run")]
    assert main([*run, "--data.num_workers=0", "--trainer.accelerator=cpu"]) == 0
    capsys.readouterr()
    assert main(command) == 2  # nothing is written over
    assert "exists" in capsys.readouterr().err


def clips_and_dense() -> tuple[torch.Tensor, torch.nn.Module]:
    torch.manual_seed(0)
    dense = create_model("i3d_tiny", num_classes=5).eval()
    randomise_norms(dense)
    return torch.randn(6, 3, 4, 32, 32), dense


def test_layers_come_nearer_to_the_dense_ones() -> None:
    clips, dense = clips_and_dense()
    at_once = octavize(dense, 0.5)
    fitted = adapt(dense, clips, alpha=0.5, without=["channels", "features"])
    with torch.no_grad():
        wanted = dense(clips)
        errors = [float((network(clips) - wanted).square().sum()) for network in (at_once, fitted)]
    assert errors[1] < errors[0]


def test_a_stopped_adaptation_gives_what_one_that_was_not_gives(tmp_path) -> None:
    clips, dense = clips_and_dense()
    whole = adapt(dense, clips, alpha=0.25, steps=4, minutes=100)
    file, made_of = tmp_path / "state", {"alpha": 0.25}

    class Cut(Exception):
        pass

    first = Adaptation(dense, 0.25, state=State(file, made_of))
    first._state.__class__ = type("Always", (State,), {"is_due": True})

    def stop(progress) -> None:
        if progress.step == "features" and progress.share > 0.6:
            raise Cut

    with pytest.raises(Cut):
        first.run(clips, Budget(100, 4), progress=stop)
    second = Adaptation(dense, 0.25, state=State(file, made_of))
    second.run(clips, Budget(100, 4))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(second.octave.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    with pytest.raises(InputError, match=r"alpha is 0\.25, here it is 0\.5"):
        State(file, {"alpha": 0.5})


def test_what_cannot_be_adapted_is_refused() -> None:
    clips, dense = clips_and_dense()
    with pytest.raises(InputError, match="alpha is 0, allowed"):
        adapt(dense, clips, alpha=0.0)
    with pytest.raises(InputError, match="1 clips"):
        adapt(dense, clips[:1], alpha=0.25)
    with pytest.raises(InputError, match="one size"):
        check_settings([clips[0], clips[0, :, :2]], ())
    with pytest.raises(InputError, match="octave one already"):
        adapt(octavize(dense, 0.25), clips, alpha=0.5)
    with pytest.raises(InputError, match="without has 'norms'"):
        adapt(dense, clips, alpha=0.25, without=["norms"])
