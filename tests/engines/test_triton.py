"""The engine triton without a GPU: in Triton's interpreter, against torch; and why it cannot run elsewhere.

The interpreter has to be asked for before Triton is imported, so these tests run in a process of their own:
TRITON_INTERPRET=1 python -m pytest tests/engines/test_triton.py tests/engines/test_triton_norm.py
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.backends.debugging import aot_eager

import octvideo
from octvideo.engines import ENGINES, choose, reasons
from octvideo.engines.geometry import Geometry
from octvideo.engines.interface import Convolutions, Epilogue, Request
from octvideo.layers import Octave, OctaveConv2d, OctaveConv3d
from octvideo.layers.flat import flat_convs
from octvideo.layers.frozen import FrozenConv
from octvideo.layers.plan import Plan
from tests.gpu.precision import distance
from tests.gpu.test_layers import ALPHAS, CONVS, forward_and_gradients, maps, tensors

pytest.importorskip("triton")
TRITON, TORCH = ENGINES["triton"], ENGINES["torch"]
POINT = Geometry((1, 1, 1), (0, 0, 0), (1, 1, 1))
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="test_in_the_interpreter runs these")


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
def test_in_the_interpreter():
    files = [__file__, str(Path(__file__).with_name("test_triton_norm.py"))]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_it_has_to_be_asked_for_and_says_why_it_cannot():
    weight = torch.zeros(8, 8, 1, 1, 1)
    x = torch.zeros(1, 8, 2, 8, 8).to(memory_format=torch.channels_last_3d)
    assert choose(Request(x, weight, [8], [POINT], trains=False)).name != "triton"
    if not INTERPRETED:
        assert reasons(torch.float32)["triton"] == "it runs on CUDA; the input is on cpu"
        with octvideo.engine("triton"):
            assert choose(Request(x, weight, [8], [POINT], trains=False)).name == "torch"


def clip(channels: int, height: int, width: int, frames: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, frames, height, width).to(memory_format=torch.channels_last_3d)


@interpreted
@pytest.mark.parametrize("conv", ["pointwise", "temporal", "stride 2 in time", "shortcut", "spatial"])
@pytest.mark.parametrize("alphas", ALPHAS)
def test_layer_and_gradients(conv, alphas):
    """29 and 3 channels, or 24 and 8; maps of odd and of even sizes."""
    torch.manual_seed(0)
    alpha_in, alpha_out = ALPHAS[alphas]
    layer = OctaveConv3d(32, 32, **CONVS[conv], alpha_in=alpha_in, alpha_out=alpha_out)
    given = tensors(maps(alpha_in, 3, (8, 12) if conv == "shortcut" else (5, 7)))
    given = [part.detach().float().requires_grad_() for part in given]
    x = Octave(*given) if given[1:] else given[0]
    with octvideo.engine("torch"):
        expected = forward_and_gradients(layer, x)
    with octvideo.engine("triton"):
        found = forward_and_gradients(layer, x)
    for one, other in zip(found, expected, strict=True):
        assert distance(one, other) < 2e-6


@interpreted
@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1)])
@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 1, 1), (1, 3, 3)])
def test_everything_behind_a_sum(size, kernel):
    """Bias, repeated map, residual, ReLU and averages; inputs that are some channels of larger maps."""
    torch.manual_seed(0)
    geometry = Geometry((1, 1, 1), tuple(k // 2 for k in kernel), (1, 1, 1))
    weights = [torch.randn(20, channels, *kernel) for channels in (24, 7)]
    x = clip(24 + 7, *size)
    half = [-(-side // 2) for side in size]
    epilogue = Epilogue(clip(20, *size), clip(20, *half), relu=True, pool=True)
    convolutions = Convolutions(weights, torch.randn(20), [geometry, geometry])
    with torch.no_grad():
        found = TRITON.sum(convolutions)(x.split([24, 7], 1), epilogue, ())
        expected = TORCH.sum(convolutions)(x.split([24, 7], 1), epilogue, ())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)


@interpreted
def test_a_residual_gives_its_memory():
    residual, x = clip(16, 4, 4), clip(8, 4, 4)
    before, weight = residual.clone(), torch.randn(16, 8, 1, 1, 1)
    epilogue = Epilogue(residual, overwrite=True)
    found, _ = TRITON.sum(Convolutions([weight], None, [POINT]))([x], epilogue, ())
    assert found.data_ptr() == residual.data_ptr()
    torch.testing.assert_close(found, nn.functional.conv3d(x, weight) + before, atol=1e-5, rtol=1e-5)


@interpreted
def test_a_frozen_layer_is_one_launch(monkeypatch):
    """All four paths, and what is behind them; what is no number stays none."""
    from octvideo.engines.triton import problem

    launches = []
    launch = problem._launch
    monkeypatch.setattr(problem, "_launch", lambda *arguments: launches.append(launch(*arguments)))
    torch.manual_seed(0)
    frozen = FrozenConv(OctaveConv3d(32, 16, 1, alpha_in=0.25, alpha_out=0.5))
    frozen.relu, frozen.gives_pooled = frozen.outputs, True
    inputs = [clip(24, 5, 7), clip(8, 3, 4), clip(8, 5, 7), clip(8, 3, 4)]
    inputs[0][0, 0, 0, 0, 0] = float("nan")
    found = {}
    for engine in ("torch", "triton"):
        with octvideo.engine(engine), torch.no_grad():
            found[engine] = frozen(*inputs)
    assert len(launches) == 1
    for one, other in zip(found["triton"], found["torch"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5, equal_nan=True)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_casts_in_the_kernel(dtype):
    """The interpreter cuts numbers to bfloat16 instead of rounding them, so they are off by twice as much."""
    torch.manual_seed(0)
    layer, x = OctaveConv3d(16, 16, 1, alpha_in=0.5, alpha_out=0.5), Octave(clip(8, 4, 4), clip(8, 2, 2))
    with octvideo.engine("triton"), torch.autocast("cpu", dtype):
        found = layer(x)
    assert {part.dtype for part in found} == {dtype}
    assert distance(found, layer(x)) < {torch.float16: 1e-3, torch.bfloat16: 1e-2}[dtype]


@interpreted
@pytest.mark.parametrize("conv", ["pointwise", "temporal"])
def test_bfloat16_up_to_rounding(conv):
    """A frozen layer in bfloat16, and the gradients of a training in autocast, against float64."""
    torch.manual_seed(0)
    layer = OctaveConv3d(32, 32, **CONVS[conv], alpha_in=0.25, alpha_out=0.25).double()
    x = maps(0.25, 3)
    expected = forward_and_gradients(layer, x)
    short = Octave(*(part.detach().float().requires_grad_() for part in x))
    single = copy.deepcopy(layer).float()
    frozen = FrozenConv(single).bfloat16()
    with octvideo.engine("triton"):
        with torch.no_grad():
            assert distance(frozen(*(part.detach().bfloat16() for part in x)), expected[0]) < 2e-2
        with torch.autocast("cpu", torch.bfloat16):
            found = forward_and_gradients(single, short)
    for ours, exact in zip(found, expected, strict=True):
        for one, other in zip(ours, exact, strict=True):
            assert distance([one], [other]) < 2e-2


@interpreted
def test_tracers_see_one_operation():
    """`torch.compile` without a break and `torch.export` write a layer down as `octvideo::sums`; the same results."""
    torch.manual_seed(0)
    frozen = FrozenConv(OctaveConv3d(32, 16, 1, alpha_in=0.25, alpha_out=0.5))
    frozen.relu, frozen.gives_pooled = frozen.outputs, True
    inputs = clip(24, 5, 7), clip(8, 3, 4), clip(8, 5, 7), clip(8, 3, 4)
    with octvideo.engine("triton"), torch.no_grad():
        expected = frozen(*inputs)
        compiled = torch.compile(frozen, backend="aot_eager", fullgraph=True)(*inputs)
        exported = torch.export.export(frozen, inputs)
        found = exported.module()(*inputs)
    names = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert [name for name in names if "getitem" not in name] == ["octvideo.sums.default"]
    for results in (compiled, found):
        for one, other in zip(results, expected, strict=True):
            torch.testing.assert_close(one, other)
            assert one.stride() == other.stride()


@interpreted
@pytest.mark.parametrize(("conv", "sums"), [("pointwise", 2), ("stride 2 in time", 1), ("shortcut", 3)])
def test_a_training_step_is_a_few_launches(conv, sums, monkeypatch):
    """Outputs, inputs' gradients, weight's gradient: one each, but where gradients are torch's, or go back by four."""
    from octvideo.engines.triton import problem, weight_gradients

    launches = []
    for module, name in ((problem, "_launch"), (weight_gradients, "launch")):
        launch = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *given, name=name, launch=launch: launches.append((name, launch(*given))[0])
        )
    layer = OctaveConv3d(32, 32, **CONVS[conv], alpha_in=0.25, alpha_out=0.25)
    with octvideo.engine("triton"):
        forward_and_gradients(
            layer, Octave(*map(torch.Tensor.requires_grad_, (clip(24, 4, 8), clip(8, 2, 4))))
        )
    assert launches == ["_launch"] * sums + ["launch"]


@interpreted
def test_weights_of_dilated_kernels_get_their_gradient():
    """The kernels know no dilation: a layer over every second frame has torch's gradient."""
    torch.manual_seed(0)
    conv = nn.Conv3d(8, 8, (3, 1, 1), padding=(2, 0, 0), dilation=(2, 1, 1))
    x = clip(8, 4, 4, frames=5)
    expected = forward_and_gradients(conv, x.requires_grad_())
    with octvideo.engine("triton"):
        found = forward_and_gradients(flat_convs(conv), x)
    for one, other in zip(found, expected, strict=True):
        assert distance(one, other) < 2e-6


@interpreted
@pytest.mark.parametrize(
    ("conv", "dtype"),
    [
        ("pointwise", torch.float32),
        ("pointwise", torch.float16),
        ("shortcut", torch.float32),
        ("image", torch.float16),
    ],
)
def test_a_compiled_training_step(conv, dtype):
    """`torch.compile` in one graph: the layer is `octvideo::convolution`; the same outputs and gradients."""
    torch.manual_seed(0)
    options = {"kernel_size": 1} if conv == "image" else CONVS[conv]
    dims = 2 if conv == "image" else 3
    layer = (OctaveConv2d if dims == 2 else OctaveConv3d)(16, 16, **options, alpha_in=0.25, alpha_out=0.25)
    high, low = (part.detach().float() for part in maps(0.5, dims, (4, 8)))
    x = Octave(high[:, :12].requires_grad_(), low[:, :4].requires_grad_())
    seen = []

    def backend(graph, inputs):
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return aot_eager(graph, inputs)

    torch._dynamo.reset()
    with octvideo.engine("triton"), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        expected = forward_and_gradients(layer, x)
        found = forward_and_gradients(torch.compile(layer, backend=backend, fullgraph=True), x)
    assert seen.count("octvideo.convolution") == 1
    for ours, others in zip(found, expected, strict=True):
        for one, other in zip(ours, others, strict=True):
            torch.testing.assert_close(one, other)
            assert one.stride() == other.stride()


@interpreted
@pytest.mark.parametrize("alphas", [(0.25, 0.5), (0, 0.25), (0.25, 0)])
def test_a_layer_as_an_operation_is_what_it_says(alphas):
    """torch's own checks: schema, fakes, gradient, and both compiled for sizes that change."""
    alpha_in, alpha_out = alphas
    layer = OctaveConv3d(8, 8, 1, bias=bool(alpha_in), alpha_in=alpha_in, alpha_out=alpha_out)
    low = int(8 * alpha_in)
    x = [clip(8 - low, 3, 4, frames=1).requires_grad_(), None]
    x[1] = clip(low, 2, 2, frames=1).requires_grad_() if low else None
    arguments = (*x, layer.weight, layer.bias, layer.plan.text, "triton", torch.float32)
    torch.library.opcheck(torch.ops.octvideo.convolution.default, arguments)
    assert Plan.of(layer.plan.text) == layer.plan


@interpreted
def test_the_operation_is_what_it_says():
    """torch's own checks: the schema, and the fake's shapes and strides."""
    from octvideo.engines.triton import operator

    x, low = clip(16, 4, 6), clip(8, 2, 3)
    weights = [torch.randn(8, channels, 1, 1, 1) for channels in (16, 8, 16, 8)]
    arguments = (
        [x, low, x, low], [1.0, 2.0, 0.5, 1.0], weights, [2, 2], [torch.randn(8), None], [clip(8, 4, 6), None],
        [None, None], [True, False], [True, False], [3, 4, 6, 3, 2, 3], [1, 0], False, torch.float32,
    )  # fmt: skip
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(operator._sums, arguments, test_utils=tests)
