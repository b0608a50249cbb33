"""Pictures by their content: labels and data, not pixels."""

import base64
import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from octvideo import viz
from octvideo.card import Card
from octvideo.data.dataset import ClipSpec
from octvideo.data.transforms import EvalTransform, TrainTransform
from octvideo.evaluation.scores import VideoScores
from octvideo.layers import Octave, OctaveConv3d
from octvideo.models import create_model
from octvideo.viz.layer import PAPER_ALPHAS, PAPER_FLOPS, PAPER_MEMORY

CARD = Card(
    num_frames=4,
    frame_stride=2,
    fps=30.0,
    test_short_side=40,
    test_crop=32,
    mean=[0.45] * 3,
    std=[0.225] * 3,
)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return create_model("i3d_tiny", alpha=0.25, num_classes=5).eval()


@pytest.fixture(scope="module")
def outputs(network: nn.Module) -> dict[str, Octave]:
    return viz.octave_outputs(network, torch.randn(1, 3, 4, 64, 64))


def test_the_two_frequencies_make_the_frame() -> None:
    frame = torch.randint(0, 256, (9, 12, 3), dtype=torch.uint8)
    low, high = viz.split_frequencies(frame)
    assert low.shape == (5, 6, 3)
    again = high + low.repeat_interleave(2, 0).repeat_interleave(2, 1)[:9, :12]
    assert torch.allclose(again, frame.float(), atol=1e-3)
    assert torch.allclose(low[0, 0], frame[:2, :2].float().mean(dim=(0, 1)))
    figure = viz.plot_frequency_split(frame)
    assert "9 x 12" in figure.axes[0].get_title()
    assert "5 x 6" in figure.axes[1].get_title()
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()  # to scale


@pytest.mark.parametrize(("cycles", "pixel"), [(2, 1.0), (8, 1.0), (4, 2.0)])
def test_the_spectrum_of_a_wave_is_at_its_frequency(cycles: int, pixel: float) -> None:
    wave = torch.sin(2 * torch.pi * cycles * torch.arange(32) / 32).expand(3, 32, 32)
    frequencies, shares = viz.power_spectrum(wave, pixel)
    assert frequencies[shares.argmax()] == pytest.approx(cycles / 32 / pixel)
    assert shares.sum() == pytest.approx(1)
    assert viz.share_above(wave, (cycles + 3) / 32 / pixel, pixel) < 0.01


def test_the_outputs_are_those_of_the_octave_layers(network: nn.Module, outputs: dict[str, Octave]) -> None:
    modules = dict(network.named_modules())
    assert outputs
    for path, octave in outputs.items():
        split = modules[path].out_split
        assert (octave.high.shape[1], octave.low.shape[1]) == (len(split.high), len(split.low))
        assert octave.high.shape[-1] == 2 * octave.low.shape[-1]
    assert not any(module._forward_hooks for module in network.modules())
    assert not network.training


def test_spectra_and_maps_are_labelled(outputs: dict[str, Octave]) -> None:
    figure = viz.plot_spectra(outputs)
    drawn = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title().replace("\n", "") for axes in drawn] == list(outputs)
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in drawn]
    assert not [one for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]
    assert drawn[0].get_xlabel() == "cycles a pixel"
    high, low = drawn[0].lines[:2]
    assert low.get_xdata()[-1] == 0.25
    assert high.get_xdata()[-1] == 0.5
    maps = viz.plot_feature_maps(next(iter(outputs.values())), count=3)
    assert [axes.get_title().split()[0] for axes in maps.axes] == ["high"] * 3 + ["low"] * 3
    detail = viz.plot_detail(outputs).axes[0]
    assert [len(line.get_xdata()) for line in detail.lines] == [len(outputs)] * 2


@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_low_group_sees_twice_as_far(num_layers: int) -> None:
    torch.manual_seed(0)
    options = {"padding": (0, 1, 1), "alpha_in": 0.5, "alpha_out": 0.5}
    alone = {**options, "high_to_low": False, "low_to_high": False}
    stack = nn.Sequential(*(OctaveConv3d(4, 4, (1, 3, 3), **alone) for _ in range(num_layers)))
    high = viz.field_width(viz.receptive_field(stack, (2, 2), 32, "high"))
    assert high == 2 * num_layers + 1
    assert viz.field_width(viz.receptive_field(stack, (2, 2), 32, "low")) == 2 * high
    titles = [axes.get_title() for axes in viz.plot_receptive_fields(stack, (2, 2)).axes]
    assert titles == [f"high: {high} pixels wide", f"low: {2 * high} pixels wide"]
    with pytest.raises(ValueError, match="frequency is 'middle'"):
        viz.receptive_field(stack, (2, 2), 32, "middle")


def test_the_cost_is_table_1() -> None:
    for alpha, flops, memory in zip(PAPER_ALPHAS, PAPER_FLOPS, PAPER_MEMORY, strict=True):
        ours = viz.layer_cost(alpha)
        assert [100 * share for share in ours] == pytest.approx([flops, memory], abs=1)
    axes = viz.plot_cost().axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("alpha", "percent of the dense layer")
    assert list(axes.lines[2].get_ydata()) == list(PAPER_FLOPS)


def test_the_networks_cost_has_a_bar_a_convolution(network: nn.Module) -> None:
    axes = viz.plot_network_cost(network, (1, 3, 8, 64, 64)).axes[0]
    convolutions = sum(isinstance(m, nn.Conv3d) for m in network.modules())
    dense, octave = axes.containers
    assert len(dense) == len(octave) == convolutions
    assert sum(bar.get_height() for bar in octave) < sum(bar.get_height() for bar in dense)


def test_clips_are_drawn_at_the_times_of_their_frames() -> None:
    pts, spec = np.arange(50) / 25, ClipSpec(num_frames=4, frame_stride=5, fps=10)
    assert viz.clip_times(pts, spec, 0.0) == pytest.approx([0, 0.64, 1.28, 1.96])  # frames 0, 16, 32, 49
    axes = viz.plot_clips(pts, spec, [0.0, 0.2]).axes[0]
    assert axes.get_xlabel() == "seconds"
    assert list(axes.lines[0].get_xdata()) == pytest.approx([0, 0.64, 1.28, 1.96])


def test_views_are_clips_times_crops() -> None:
    frame = torch.zeros(40, 60, 3, dtype=torch.uint8)
    figure = viz.plot_views(np.arange(90) / 30, frame, ClipSpec(4, 2), EvalTransform(32, 32, 3), num_clips=10)
    times, crops = figure.axes
    assert len(times.lines) == 10
    assert times.get_title() == "10 clips x 3 crops a video"
    assert len(crops.patches) == 3
    lefts = [box.get_x() for box in crops.patches]
    assert lefts == sorted(lefts)


def test_augmentation_shows_what_training_draws() -> None:
    frames = torch.randint(0, 256, (4, 40, 50, 3), dtype=torch.uint8)
    transform = TrainTransform((34, 38), crop=32)
    figure = viz.plot_augmentation(frames, transform, count=2, seed=3)
    assert len(figure.axes) == 3
    expected = transform(frames, np.random.default_rng((3, 1)))[:, 2].permute(1, 2, 0)
    assert np.array_equal(figure.axes[2].images[0].get_array(), expected)


def test_frames_are_drawn_in_their_order() -> None:
    frames = torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8)
    figure = viz.plot_frames(frames, "left")
    drawn = figure.axes
    assert figure.get_suptitle() == "left"
    for axes, frame in zip(drawn, frames, strict=True):
        assert np.array_equal(axes.images[0].get_array(), frame)


def test_a_survey_counts_and_names_what_is_broken(tmp_path, make_video) -> None:
    good = str(make_video(tmp_path / "good.mp4", num_frames=20, fps=20))
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a video")
    found = viz.survey([good, str(bad)])
    assert list(found.scans) == [good]
    assert list(found.broken) == [str(bad)]
    durations, rates, sizes = viz.plot_overview(found).axes
    assert "1 decode, 1 do not" in durations.get_title()
    assert rates.get_xlabel() == "frames a second"
    assert (sizes.lines[0].get_xdata()[0], sizes.lines[0].get_ydata()[0]) == (96, 64)


def test_class_counts_most_first_and_empty_classes_too() -> None:
    axes = viz.plot_class_counts([1, 1, 0], ["a", "b", "c"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a", "c"]
    assert [bar.get_width() for bar in axes.patches] == [2, 1, 0]


def test_mistakes_most_confident_first(tmp_path, make_video) -> None:
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    scores = VideoScores(np.array([0, 1, 2, 5]), np.array([1, 1, 1, -1]), probabilities)
    mistakes = viz.confident_mistakes(scores)
    assert [mistake.video for mistake in mistakes] == [1, 0]
    assert mistakes[0] == (1, 1, 0, 0.9)
    path = str(make_video(tmp_path / "a.mp4"))
    figure = viz.plot_mistakes(mistakes, [path] * 6, ["left", "right"], num_frames=3)
    assert figure.subfigs[0].get_suptitle() == "right, taken for left (90%)"
    assert len(figure.axes) == 6
    figure.draw_without_rendering()
    lefts = [axes.get_position().x0 for axes in figure.subfigs[0].axes]
    assert lefts[1] - lefts[0] == pytest.approx(lefts[2] - lefts[1], abs=0.01)  # a long title leaves no gap
    with pytest.raises(ValueError, match="mistakes is empty"):
        viz.plot_mistakes([], [path], ["left", "right"])


def test_the_time_line_covers_the_video(tmp_path, make_video, network: nn.Module) -> None:
    path = str(make_video(tmp_path / "long.mp4", num_frames=60))
    seconds, probabilities = viz.class_timeline(network, path, CARD, every_seconds=0.5)
    assert seconds == pytest.approx([0.1333, 0.6333, 1.1333, 1.6333], abs=1e-3)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    clip, frames = viz.read_clip(path, CARD, 0.5)
    assert frames.shape == (4, 32, 32, 3)
    with torch.no_grad():
        alone = network(clip[None]).softmax(dim=-1)[0]
    assert probabilities[1] == pytest.approx(alone.numpy(), abs=1e-5)
    axes = viz.plot_class_timeline(seconds, probabilities, list("abcde"), count=3).axes[0]
    assert axes.get_xlabel() == "seconds"
    assert axes.images[0].get_array().shape == (3, 4)


def test_grad_cam_is_that_of_the_paper() -> None:
    """On one convolution and a mean, the weights are known: the head's, over the number of pixels."""
    torch.manual_seed(0)
    conv, head = nn.Conv3d(3, 4, 1), nn.Linear(4, 2)
    network = nn.Sequential(conv, nn.AdaptiveAvgPool3d(1), nn.Flatten(), head).eval()
    clip = torch.randn(3, 2, 8, 8)
    found = viz.grad_cam(network, clip, "0", target=1)
    expected = torch.einsum("c,cthw->thw", head.weight[1], conv(clip[None])[0]).clamp_min(0).detach()
    assert torch.allclose(found.both, expected / expected.max(), atol=1e-5)
    assert found.low.abs().max() == 0


def test_grad_cam_goes_through_both_frequencies(network: nn.Module) -> None:
    clip = torch.randn(3, 4, 64, 64)
    # The other branch of a fresh network is multiplied with 0.
    layer = "blocks.2.res_blocks.0.branch1_conv"
    all_classes = [viz.grad_cam(network, clip, layer, target=c) for c in range(5)]
    assert all(one.shape == (4, 64, 64) for found in all_classes for one in found)
    assert {max(float(one.max()) for one in found) for found in all_classes} <= {0.0, 1.0}
    assert any(found.high.max() > 0 for found in all_classes)
    assert any(found.low.max() > 0 for found in all_classes)
    found = all_classes[-1]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    frames = torch.zeros(4, 64, 64, 3, dtype=torch.uint8)
    assert torch.equal(viz.overlay(frames, torch.zeros(4, 64, 64)), frames)
    figure = viz.plot_saliency(frames, found)
    assert len(figure.axes) == 16
    assert [figure.axes[i].get_ylabel() for i in (0, 4, 8, 12)] == ["frames", "both", "high", "low"]
    with pytest.raises(ValueError, match="layer is 'nowhere'"):
        viz.grad_cam(network, clip, "nowhere")


def test_every_frame_shows_where_its_own_largest_value_is() -> None:
    """A clip whose answer hangs on one frame: on one scale the other frames would be blank."""
    both = torch.zeros(3, 8, 8)
    both[0, 2, 2], both[1, 5, 5] = 0.01, 1.0
    saliency = viz.Saliency(both, both / 2, torch.zeros(3, 8, 8))
    scaled = viz.per_frame(saliency)
    assert [float(frame.max()) for frame in scaled.both] == pytest.approx([1, 1, 0])
    assert [float(frame.max()) for frame in scaled.high] == pytest.approx([0.5, 0.5, 0])
    figure = viz.plot_saliency(torch.zeros(3, 8, 8, 3, dtype=torch.uint8), saliency)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["1%", "100%", "0%"]
    first = figure.axes[3].images[0].get_array()
    assert first.max() > 100
    assert np.unravel_index(first.sum(axis=2).argmax(), (8, 8)) == (2, 2)


def test_layer_errors_are_those_of_the_merged_result() -> None:
    """On pictures that are even over 2 x 2 pixels, a pointwise layer loses nothing; on noise it does."""
    torch.manual_seed(0)
    pointwise = {"kernel_size": 1}
    network = nn.Sequential(*(nn.Conv3d(4 if i else 3, 4, **pointwise) for i in range(4))).eval()
    noise = torch.randn(1, 3, 2, 8, 8)
    even = noise[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
    layers = nn.Sequential(network, nn.Conv3d(4, 4, 3, stride=2, padding=1)).eval()
    coarse = viz.layer_errors(layers, 0.5, even)
    fine = viz.layer_errors(layers, 0.5, noise)
    assert list(coarse)[:3] == ["0.1", "0.2", "0.3"]
    assert all(coarse[path] < 1e-5 < fine[path] for path in ("0.1", "0.2", "0.3"))
    axes = viz.plot_layer_errors(fine).axes[0]
    assert axes.get_ylabel() == "relative difference from dense"
    assert [bar.get_height() for bar in axes.patches] == list(fine.values())


def test_an_animation_holds_every_frame() -> None:
    frames = torch.stack([torch.full((8, 6, 3), 60 * i, dtype=torch.uint8) for i in range(4)])
    html = viz.animate(frames, frames_per_second=5, scale=2)
    picture = Image.open(io.BytesIO(base64.b64decode(html.split("base64,")[1].split('"')[0])))
    assert picture.n_frames == 4
    assert picture.size == (12, 16)
    assert picture.info["duration"] == 200
