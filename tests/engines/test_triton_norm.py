"""Batch norms by the engine triton, in Triton's interpreter (see test_triton), against torch's in float64."""

import copy
import operator

import pytest
import torch
from torch import nn

import octvideo
from octvideo.layers import Octave, OctaveBatchNorm2d, OctaveBatchNorm3d
from octvideo.layers import norm as layer
from octvideo.models import for_training, octavize
from tests.engines.test_triton import clip, interpreted
from tests.gpu.precision import distance

pytest.importorskip("triton")
RELU = nn.ReLU()


@pytest.fixture
def launches(monkeypatch):
    """The kernels that were started."""
    from octvideo.engines.triton import norm

    names, launch = [], norm.launch

    def note(kernel, *arguments):
        names.append(kernel.__name__)
        return launch(kernel, *arguments)

    monkeypatch.setattr(norm, "launch", note)
    return names


def octave_norm(channels: int, alpha: float, kind=OctaveBatchNorm3d, **options) -> nn.Module:
    torch.manual_seed(0)
    norm = kind(channels, alpha=alpha, **options)
    with torch.no_grad():
        for part in norm.parameters():
            part.copy_(torch.randn_like(part))
    return norm


def run(norm: nn.Module, maps: list[torch.Tensor], relu: nn.ReLU | None = RELU) -> list[torch.Tensor]:
    """Outputs, statistics, and gradients of maps (residuals, too, behind the two), weight and bias."""
    maps = [x.detach().requires_grad_() for x in maps]
    rows = layer.as_rows(norm.split.high), layer.as_rows(norm.split.low)
    outputs = layer.batch_norm(norm, maps[:2], rows, relu, maps[2:])
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(y.shape, dtype=torch.float64, generator=generator).to(y.dtype) for y in outputs]
    gradients = torch.autograd.grad(list(outputs), [*maps, *norm.parameters()], grads)
    return [*outputs, *norm.buffers(), *gradients]


def compare(norm: nn.Module, maps: list[torch.Tensor], allowed: float, relu: nn.ReLU | None = RELU) -> None:
    """A step by the engine against torch's in float64."""
    expected = run(copy.deepcopy(norm).double(), [x.double() for x in maps], relu)
    with octvideo.engine("triton"):
        found = run(norm, maps, relu)
    for one, other in zip(found, expected, strict=True):
        assert distance([one], [other]) < allowed


@interpreted
@pytest.mark.parametrize("relu", [RELU, None], ids=["relu", "alone"])
@pytest.mark.parametrize(
    ("channels", "alpha", "size"), [(32, 0.25, (4, 6)), (32, 0.1, (5, 7)), (20, 0.5, (9, 1))]
)
def test_both_frequencies_are_torchs(channels, alpha, size, relu, launches):
    """24 and 8, 29 and 3, 10 and 10 channels: outputs, statistics and gradients, two launches each way."""
    low = int(alpha * channels)
    half = [-(-side // 2) for side in size]
    compare(octave_norm(channels, alpha), [clip(channels - low, *size), clip(low, *half)], 2e-6, relu)
    assert launches == ["statistics", "normalise", "gradient_sums", "gradients"]


@interpreted
def test_what_is_added_in_front_of_the_relu(launches):
    maps = [
        clip(12, 5, 6, frames=1),
        clip(4, 3, 3, frames=1),
        clip(12, 5, 6, frames=1),
        clip(4, 3, 3, frames=1),
    ]
    compare(octave_norm(16, 0.25), maps, 2e-6)
    assert launches == ["statistics", "normalise", "gradient_sums", "gradients"]


@interpreted
def test_many_pixels_are_put_together(monkeypatch):
    """Programs of several tiles, and several programs, the last of them with fewer pixels."""
    from octvideo.engines.triton import norm

    monkeypatch.setattr(norm, "TILE", 256)
    monkeypatch.setattr(norm, "MOST_SPLITS", type(norm.MOST_SPLITS)(3))
    compare(octave_norm(16, 0.25), [clip(12, 5, 9, frames=2), clip(4, 3, 5, frames=2)], 2e-6)


@interpreted
def test_a_large_mean_takes_no_digits():
    """Sums of squares in float32 would have none left of a deviation of 1 at a mean of 10,000."""
    maps = [clip(12, 6, 6) + 1e4, clip(4, 3, 3) - 1e4]
    expected = run(octave_norm(16, 0.25).double(), [x.double() for x in maps])
    with octvideo.engine("triton"):
        found = run(octave_norm(16, 0.25), maps)
    assert (
        distance(found[:2], expected[:2]) < 1e-3
    )  # the numbers themselves have three digits behind the point
    assert distance(found[3:4], expected[3:4]) < 1e-3


@interpreted
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_keeps_statistics_in_float32(dtype):
    norm, maps = octave_norm(16, 0.25), [clip(12, 5, 6), clip(4, 3, 3)]
    with torch.autocast("cpu", dtype):
        compare(norm, [x.to(dtype) for x in maps], {torch.float16: 2e-3, torch.bfloat16: 1.5e-2}[dtype])
    assert {buffer.dtype for buffer in norm.buffers()} == {torch.float32, torch.int64}


@interpreted
@pytest.mark.parametrize("options", [{"momentum": None}, {"track_running_stats": False}], ids=str)
def test_other_running_statistics(options):
    """The mean over all batches, of which this is the second; or none."""
    norm, maps = octave_norm(16, 0.25, **options), [clip(12, 5, 4), clip(4, 3, 2)]
    run(norm, maps)
    compare(norm, [2 * x for x in maps], 2e-6)


@interpreted
def test_images():
    maps = [x[:, :, 0] for x in (clip(24, 5, 7), clip(8, 3, 4))]
    compare(octave_norm(32, 0.25, OctaveBatchNorm2d), maps, 2e-6)


@interpreted
@pytest.mark.parametrize("count", [2, 4])
def test_a_gradients_gradient(count):
    """Without and with something added in front of the ReLU."""
    norm = octave_norm(8, 0.5).requires_grad_(False)
    maps = [clip(4, 3, 4), clip(4, 2, 2), clip(4, 3, 4), clip(4, 2, 2)][:count]
    rows = slice(0, 4), slice(4, 8)

    def penalty(norm: nn.Module, maps: list[torch.Tensor]) -> torch.Tensor:
        maps = [x.detach().requires_grad_() for x in maps]
        y = layer.batch_norm(norm, maps[:2], rows, RELU, maps[2:])
        first = torch.autograd.grad(sum(part.square().sum() for part in y), maps, create_graph=True)
        return torch.cat(
            [x.flatten() for x in torch.autograd.grad(sum(g.square().sum() for g in first), maps)]
        )

    expected = penalty(copy.deepcopy(norm).double(), [x.double() for x in maps])
    with octvideo.engine("triton"):
        found = penalty(norm, maps)
    assert distance([found], [expected]) < 1e-4


@interpreted
def test_what_no_number_is_stays_none():
    maps = [clip(6, 3, 4), clip(2, 2, 2)]
    maps[0][0, 0, 0, 0, 0] = float("nan")
    with octvideo.engine("triton"):
        outputs = run(octave_norm(8, 0.25), maps)
    assert outputs[0][:, 0].isnan().all()
    assert outputs[0][:, 1:].isfinite().all()


@interpreted
def test_what_stays_torchs(launches):
    """In evaluation, of channels in another order, of float64; and where one pixel is an error."""
    norm, maps = octave_norm(8, 0.5), [clip(4, 3, 4), clip(4, 2, 2)]
    run_rows = (torch.arange(0, 8, 2), torch.arange(1, 8, 2))
    with octvideo.engine("triton"):
        run(copy.deepcopy(norm).eval(), maps)
        layer.batch_norm(norm, maps, run_rows)
        layer.batch_norm(copy.deepcopy(norm).double(), [x.double() for x in maps], (slice(0, 4), slice(4, 8)))
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            layer.batch_norm(norm, [x[:1, :, :1, :1, :1] for x in maps], (slice(0, 4), slice(4, 8)))
    assert not launches


class Block(nn.Module):
    """A residual block whose norms all have a ReLU behind them, the second behind an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm_a = nn.Conv3d(16, 16, 1), nn.BatchNorm3d(16)
        self.b, self.norm_b = nn.Conv3d(16, 16, 1), nn.BatchNorm3d(16)
        self.relu_a, self.relu_b = nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu_a(self.norm_a(self.a(x)))
        return self.relu_b(y + self.norm_b(self.b(y)))


@interpreted
def test_a_compiler_writes_torchs_norms_down(launches):
    norm, maps = octave_norm(16, 0.25), Octave(clip(12, 4, 4), clip(4, 2, 2))
    with octvideo.engine("triton"):
        torch.compile(norm, backend="aot_eager", fullgraph=True)(maps).high.sum().backward()
    assert not launches


@interpreted
@pytest.mark.parametrize("alpha", [0, 0.25])
def test_a_network_runs_norms_with_what_is_behind_them(launches, alpha):
    """Dense or octave: an addition and a ReLU that alone take a norm's output are in its kernel, trained or scored."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv3d(3, 16, 1), nn.MaxPool3d((1, 2, 2)), Block(), nn.AdaptiveAvgPool3d(1))
    network = octavize(dense, alpha, dense_last_stage=False).train()
    x, other = clip(3, 8, 8, frames=1), copy.deepcopy(network)
    expected = other(x)
    expected.square().sum().backward()
    with octvideo.engine("triton"):
        runner = for_training(network)
        found = runner(x)
        found.square().sum().backward()
    called = [node.target for node in runner.graph.nodes if node.op != "get_attr"]
    assert called.count(layer.batch_norm) == 2
    assert not {operator.add, "2.relu_a", "2.relu_b", "2.norm_a"} & set(called)
    assert launches == 2 * ["statistics", "normalise"] + 2 * ["gradient_sums", "gradients"]
    assert distance([found], [expected]) < 1e-5
    grads = ([p.grad for p in of.parameters()] for of in (network, other))
    assert distance(*grads) < 1e-4
    assert distance(network.buffers(), other.buffers()) < 1e-5
    network.eval()
    with torch.no_grad():
        assert distance([runner(x)], [network(x)]) < 1e-6
