"""`octvideo adapt`, and what it writes as the other commands take it."""

import pytest
import torch
from torch import nn

from octvideo.adaptation import Adaptation, Budget, adapt, compare
from octvideo.adaptation.instep import bytes_of_maps
from octvideo.adaptation.judge import Judge, set_apart
from octvideo.adaptation.layers import fit_layers
from octvideo.adaptation.outputs import head_of
from octvideo.adaptation.report import rows
from octvideo.adaptation.settings import check_settings
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
    fitted = adapt(dense, clips, alpha=0.5, without=["channels", "features", "last_stage"])
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


def test_a_step_that_makes_it_worse_is_undone() -> None:
    _, dense = clips_and_dense()
    clips = torch.randn(16, 3, 4, 32, 32)
    states = []

    def measure(octave, dense):
        states.append({name: value.clone() for name, value in octave.state_dict().items()})
        return compare(octave, dense, clips[:2])

    adaptation = Adaptation(dense, 0.25, without=["last_stage"])
    adaptation.run(clips, Budget(100, 3), measure=measure, lr=1.0)
    assert [(one.after, one.is_undone) for one in adaptation.measured if one.share == 1] == [
        ("nothing", False),
        ("channels", False),
        ("layers", False),
        ("features", True),  # at a rate of 1 the weights are lost
    ]
    of_layers = states[2]
    for name, value in adaptation.octave.state_dict().items():
        torch.testing.assert_close(value, of_layers[name], rtol=0, atol=0)
    assert "no better, undone" in rows(adaptation.measured)[-1][0]


@torch.no_grad()
def test_each_step_is_compared_with_what_the_one_before_has_left() -> None:
    clips, dense = clips_and_dense()
    octave = octavize(dense, 0.25)
    path = head_of(octave)
    weight = octave.get_submodule(path).weight
    right = weight.clone()
    judge, other = (Judge(dense, list(clips[:2]), path) for _ in range(2))

    weight.mul_(3)
    start = judge.remember(octave)
    weight.copy_(right)
    assert not judge.undo_if_worse(octave, start)
    better = judge.remember(octave)
    assert better["distance"] < start["distance"]
    assert better["distance"] == pytest.approx(other.remember(octave)["distance"])

    weight.mul_(3)
    assert judge.undo_if_worse(octave, better)
    torch.testing.assert_close(weight, right, rtol=0, atol=0)
    assert judge.remember(octave)["distance"] == better["distance"]


def test_a_budget_of_no_minutes_is_used_up() -> None:
    assert Budget(0).share(0.0, 0) == 1
    assert Budget(1).share(30.0, 7) == 0.5
    assert Budget(1, steps=10).share(30.0, 7) == 0.7


def test_clips_that_judge_are_not_learnt_from() -> None:
    learnt, judging = set_apart([torch.tensor(i) for i in range(40)])
    assert [int(i) for i in judging] == [4, 12, 20, 28, 36]
    assert sorted(int(i) for i in (*learnt, *judging)) == list(range(40))
    learnt, judging = set_apart([torch.tensor(i) for i in range(7)])
    assert (len(learnt), len(judging)) == (7, 0)


def test_a_norm_that_gives_nothing_leaves_layer_errors_small() -> None:
    """Residual blocks often start with norms of scale 0; an octave norm that has left it a little is no large error."""
    clips, dense = clips_and_dense()
    path = "blocks.1.res_blocks.0.branch2.norm_c"
    nn.init.zeros_(dense.get_submodule(path).weight)
    octave = octavize(dense, 0.25)
    nn.init.constant_(octave.get_submodule(path).weight, 1e-3)
    assert max(compare(octave, dense, clips[:2]).layers.values()) < 10


def test_convolutions_with_a_bias_come_nearer_too() -> None:
    """Their offset is what the bias changes by, and not a second bias."""
    torch.manual_seed(0)
    dense = nn.Sequential(
        nn.Conv3d(3, 8, 1), nn.Conv3d(8, 8, 1), nn.ReLU(), nn.Conv3d(8, 4, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    ).eval()  # fmt: skip
    for conv in (dense[1], dense[3]):
        nn.init.constant_(conv.bias, 5)
    clips = torch.randn(8, 3, 2, 8, 8)
    octave = octavize(dense, 0.5, dense_last_stage=False)
    fit_layers(octave, dense, clips)
    with torch.no_grad():
        assert float((octave(clips) - dense(clips)).abs().max()) < 0.5


def test_the_maps_of_a_clip_are_counted_once_each() -> None:
    """A first layer of 4 channels and a second of 4 high and 4 low ones: these two are there at once."""
    dense = nn.Sequential(nn.Conv3d(3, 4, 1), nn.Conv3d(4, 8, 1), nn.ReLU(), nn.Conv3d(8, 2, 1))
    octave = octavize(dense.eval(), 0.5, dense_last_stage=False)
    pixels = 2 * 8 * 8
    assert bytes_of_maps(octave, torch.randn(1, 3, 2, 8, 8)) == 4 * pixels * (4 + 4 + 4 // 4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--alpha", "1"], "--alpha is 1"),
        (["--alpha", "0"], "--alpha is 0"),
        (["--minutes", "-1"], "--minutes is -1"),
        (["--batch_size", "0"], "--batch_size is 0"),
        (["--out", "oct.pth"], "--out is oct.pth, allowed is a name that ends in .ckpt"),
        (["--budget", ".8"], "argument --budget: not allowed with argument --alpha"),
        (["--without", "norms"], "invalid choice: 'norms'"),
        ([], "has 2 videos, allowed are 4 or more: one in 4 is held out"),
    ],
)
def test_settings_and_footage_that_the_command_refuses(options, said, tmp_path, make_video, capsys) -> None:
    for i in range(2):
        make_video(tmp_path / "videos" / f"{i}.mp4", num_frames=8, size=(48, 64))
    dense = write_checkpoint(tmp_path / "dense.ckpt")
    command = ["adapt", str(dense), "--videos", str(tmp_path / "videos"), "--alpha", ".25"]
    assert main([*command, "--out", str(tmp_path / "oct.ckpt"), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_weights_that_are_octave_already_are_refused(tmp_path, make_video, capsys) -> None:
    make_video(tmp_path / "video.mp4", num_frames=8)
    octave = write_checkpoint(tmp_path / "octave.ckpt", alpha=0.25)
    command = [
        "adapt",
        str(octave),
        "--alpha",
        ".5",
        "--videos",
        str(tmp_path),
        "--out",
        str(tmp_path / "o.ckpt"),
    ]
    assert main(command) == 2
    assert (
        f"{octave} is of an octave network, allowed are dense weights: alpha 0\n" in capsys.readouterr().err
    )


def test_what_cannot_be_adapted_is_refused() -> None:
    clips, dense = clips_and_dense()
    with pytest.raises(InputError, match="no 2D or 3D convolution"):
        adapt(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), clips, alpha=0.25)
    with pytest.raises(InputError, match="no convolution outside its stem and last stage"):
        adapt(nn.Sequential(nn.Conv3d(3, 8, 1), nn.AdaptiveAvgPool3d(1)), clips, alpha=0.25)
    with pytest.raises(InputError, match=r"clips are \(4, 32, 32\), allowed is \(3, T, H, W\)"):
        adapt(dense, clips[:, 0], alpha=0.25)
    with pytest.raises(InputError, match="alpha is None and budget is None, allowed is one of them"):
        adapt(dense, clips)
    with pytest.raises(InputError, match="budget is 1, allowed"):
        adapt(dense, clips, budget=1)
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
