"""The convolution kernel against torch's operations."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F

from octvideo.engines.native import convolve
from octvideo.engines.native.build import missing
from octvideo.engines.native.convolve import SumOfConvolutions, is_supported
from octvideo.errors import InputError

DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def has_kernels(processor, request):
    """bfloat16 runs where the processor multiplies it, and in the kernels that are compiled for others."""
    dtype = request.node.callspec.params.get("dtype") if hasattr(request.node, "callspec") else None
    if dtype == torch.bfloat16 and request.node.callspec.params["processor"] == "own" and missing(dtype):
        pytest.skip(str(missing(dtype)))


# Channels of both inputs, output channels, kernel, spatial stride, stride in time, and the clip's size: whole and
# broken blocks of channels and tiles of pixels, maps of one pixel, long lines, odd sizes, clips, few and many tasks.
CASES = [
    ((7, 0), 5, (1, 3, 3), 1, 1, (2, 3, 7, 5)),
    ((8, 3), 64, (3, 1, 1), 1, 1, (1, 4, 6, 6)),
    ((8, 2), 57, (1, 1, 1), 2, 1, (2, 2, 8, 9)),
    ((16, 8), 120, (1, 3, 3), 2, 1, (1, 3, 14, 13)),
    ((4, 0), 28, (3, 3, 3), 1, 2, (1, 5, 1, 1)),
    ((12, 2), 96, (5, 1, 1), 1, 1, (1, 8, 15, 17)),
    ((2, 2), 8, (1, 3, 3), 1, 1, (1, 1, 2, 3)),
    ((6, 5), 40, (1, 3, 3), 1, 1, (1, 1, 30, 29)),
    ((1, 0), 24, (1, 1, 1), 1, 1, (3, 1, 30, 4)),
    ((6, 4), 112, (1, 3, 3), 1, 1, (1, 1, 2, 300)),
    ((2, 2), 48, (3, 1, 1), 1, 2, (1, 4, 40, 30)),
]


def clip(channels, size, dtype, gap=0):
    """Channels-last, with other channels between the pixels if there is a gap."""
    batch, *rest = size
    x = torch.randn(batch, channels + gap, *rest).to(dtype).to(memory_format=torch.channels_last_3d)
    return x[:, gap // 2 : gap // 2 + channels]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_sum_and_what_is_behind(case, dtype):
    torch.manual_seed(0)
    in_channels, out_channels, kernel, stride, time_stride, size = case
    strides, padding = (time_stride, stride, stride), tuple(k // 2 for k in kernel)
    inputs = [clip(n, size, dtype, gap=3 * i) for i, n in enumerate(in_channels) if n]
    weights = [torch.randn(out_channels, n, *kernel).to(dtype) for n in in_channels if n]
    bias = torch.randn(out_channels)
    convolved = sum(
        F.conv3d(x.double(), w.double(), None, strides, padding) for x, w in zip(inputs, weights, strict=True)
    ) + bias.double().view(-1, 1, 1, 1)
    run = SumOfConvolutions(weights, bias, strides, padding)
    height, width = convolved.shape[-2:]
    low = (*convolved.shape[:3], (height + 1) // 2, (width + 1) // 2)
    tolerance = {"rtol": 0, "atol": float(convolved.abs().max()) * (1e-6 if dtype == torch.float32 else 5e-3)}
    for has_other, has_up, relu, pool, overwrite in itertools.product((False, True), repeat=5):
        other = clip(out_channels, (size[0], *convolved.shape[2:]), dtype, gap=2) if has_other else None
        up = clip(out_channels, (size[0], *low[2:]), dtype) if has_up else None
        expected = convolved
        if other is not None:
            expected = expected + other.double()
        if up is not None:
            repeated = up.double().repeat_interleave(2, 3).repeat_interleave(2, 4)
            expected = expected + repeated[..., :height, :width]
        expected = expected.relu() if relu else expected
        before = None if other is None else other.clone()
        out, pooled = run(inputs, other, up, relu=relu, pool=pool, overwrite=overwrite)
        torch.testing.assert_close(out.double(), expected, **tolerance)
        assert out.dtype == dtype
        assert other is None or (out is other if overwrite else torch.equal(other, before))
        if pool:
            images = out.double().transpose(1, 2).flatten(0, 1)
            averages = F.avg_pool2d(images, 2, ceil_mode=True, count_include_pad=False)
            found = pooled.double().transpose(1, 2).flatten(0, 1)
            torch.testing.assert_close(found, averages, **tolerance)
        else:
            assert pooled is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_no_number_stays_so(dtype):
    x = clip(4, (1, 1, 3, 3), dtype)
    x[0, :, 0, 1, 1] = float("nan")
    out, _ = SumOfConvolutions([torch.ones(8, 4, 1, 1, 1).to(dtype)], None, (1, 1, 1), (0, 0, 0))(
        [x], relu=True
    )
    assert out.isnan().nonzero()[:, 3:].unique(dim=0).tolist() == [[1, 1]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_layout_and_number_of_threads(dtype):
    torch.manual_seed(0)
    weight = torch.randn(16, 6, 1, 3, 3).to(dtype)
    run = SumOfConvolutions([weight], None, (1, 1, 1), (0, 1, 1))
    x = torch.randn(2, 6, 3, 5, 4).to(dtype)
    expected, _ = run([x.to(memory_format=torch.channels_last_3d)])
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            for other_layout in (
                x,
                x.flip(4).flip(4),
                x.permute(0, 1, 4, 3, 2).contiguous().permute(0, 1, 4, 3, 2),
            ):
                assert torch.equal(run([other_layout])[0], expected)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("sizes", "supported"),
    [
        (((1, 1, 1), (0, 1, 1), (1, 1, 1), 1), True),
        (((2, 2, 2), (0, 1, 1), (1, 1, 1), 1), True),
        (((1, 3, 3), (0, 1, 1), (1, 1, 1), 1), False),  # stride
        (((1, 1, 1), (0, 0, 0), (1, 1, 1), 1), False),  # padding
        (((1, 1, 1), (0, 1, 1), (1, 2, 2), 1), False),  # dilation
        (((1, 1, 1), (0, 1, 1), (1, 1, 1), 2), False),  # groups
    ],
)
def test_what_the_kernel_does(sizes, supported, monkeypatch):
    weight = torch.zeros(8, 4, 1, 3, 3)
    monkeypatch.setattr(convolve, "missing", lambda dtype: None)
    assert is_supported(weight, *sizes) == supported
    monkeypatch.setattr(convolve, "missing", lambda dtype: "no AVX-512")
    assert not is_supported(weight, *sizes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_that_use_it_can_be_copied(dtype):
    from octvideo.layers.frozen import FrozenConv

    layer = FrozenConv(torch.nn.Conv3d(4, 8, (1, 3, 3), 1, (0, 1, 1)).to(dtype))
    x = clip(4, (1, 2, 5, 5), dtype)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))


X = (2, 6, 3, 5, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "wrong",
    [
        {"clips": [torch.zeros(2, 7, 3, 5, 4)]},  # channels
        {"clips": [torch.zeros(2, 5, 3, 5, 4)]},
        {"clips": [torch.zeros(6, 3, 5, 4)]},  # rank
        {"clips": [torch.zeros(X).double()]},
        {"clips": [torch.zeros(X, device="meta")]},
        {"clips": [torch.zeros(0, 6, 3, 5, 4)]},
        {"clips": [torch.zeros(2, 6, 3, 5, 0)]},
        {"clips": [torch.zeros(2, 6, 1, 5, 4)]},  # smaller than the kernel
        {"clips": []},
        {"clips": [torch.zeros(X), torch.zeros(X)]},
        {"other": torch.zeros(2, 16, 2, 5, 5)},
        {"other": torch.zeros(16, 1, 1, 1)},
        {"up": torch.zeros(2, 16, 2, 2, 2)},
        {"up": torch.zeros(2, 16, 2, 3, 2).double()},
    ],
    ids=lambda wrong: " ".join(
        f"{k} {[tuple(t.shape) for t in v] if k == 'clips' else tuple(v.shape)}" for k, v in wrong.items()
    ),
)
def test_what_would_read_foreign_memory_is_refused(wrong, dtype):
    run = SumOfConvolutions([torch.zeros(16, 6, 2, 3, 3, dtype=dtype)], None, (1, 1, 1), (0, 1, 1))
    right = {
        "clips": [torch.zeros(X)],
        "other": torch.zeros(2, 16, 2, 5, 4),
        "up": torch.zeros(2, 16, 2, 3, 2),
    }

    def call(given):
        of_type = {k: [of(t) for t in v] if k == "clips" else of(v) for k, v in given.items()}
        run(of_type.pop("clips"), **of_type)

    def of(tensor):
        return tensor if tensor.dtype == torch.float64 else tensor.to(dtype)

    call(right)
    with pytest.raises(InputError, match=r"allowed|smaller than the kernel"):
        call(right | wrong)


def test_both_clips_are_of_one_size():
    run = SumOfConvolutions([torch.zeros(8, 4, 1, 1, 1)] * 2, None, (1, 1, 1), (0, 0, 0))
    with pytest.raises(InputError, match=r"clip 1 is .*allowed is torch.float32 .* = \(1, 4, 2, 6, 6\)"):
        run([torch.zeros(1, 4, 2, 6, 6), torch.zeros(1, 4, 2, 6, 5)])
