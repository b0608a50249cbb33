"""The authors' octave ResNet, last stage included, written down operation by operation.

Source: gluon's `resnetv1.py` and `symbol_resnetv2.py` of the authors, which d-li14's PyTorch port follows.
"""

import pytest
import torch
import torch.nn.functional as F
import torchvision

from octvideo.models import octavize
from octvideo.models.cost import count_macs
from tests.models.networks import randomise_norms, resnet26


def norm(x, layer, rows):
    scale = layer.weight[rows] / (layer.running_var[rows] + layer.eps).sqrt()
    shift = layer.bias[rows] - layer.running_mean[rows] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def octave(high, low, conv, layer, alpha):
    """Convolution and norm: (high, low) of alpha, or (dense, None) of alpha 0, as the authors' `octConv` does it."""
    w, stride, pad = conv.weight, conv.stride[0], conv.padding[0]
    out_high, in_high = w.shape[0] - int(alpha * w.shape[0]), high.shape[1]
    if stride == 2:
        high = F.avg_pool2d(high, 2)
    y = F.conv2d(high, w[:out_high, :in_high], padding=pad)
    if low is not None:
        from_low = F.conv2d(low, w[:out_high, in_high:], padding=pad)
        y = y + (from_low if stride == 2 else F.interpolate(from_low, scale_factor=2))
    z = None
    if alpha:
        z = F.conv2d(F.avg_pool2d(high, 2), w[out_high:, :in_high], padding=pad)
        if low is not None:
            low = F.avg_pool2d(low, 2) if stride == 2 else low
            z = z + F.conv2d(low, w[out_high:, in_high:], padding=pad)
        z = norm(z, layer, slice(out_high, None))
    return norm(y, layer, slice(out_high)), z


def relu(high, low):
    return F.relu(high), None if low is None else F.relu(low)


def authors_resnet(net, x, alpha):
    high, low = net.maxpool(F.relu(net.bn1(net.conv1(x)))), None
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        of_stage = 0 if stage is net.layer4 else alpha
        for block in stage:
            y = relu(*octave(high, low, block.conv1, block.bn1, of_stage))
            y = relu(*octave(*y, block.conv2, block.bn2, of_stage))
            y = octave(*y, block.conv3, block.bn3, of_stage)
            if block.downsample is not None:
                high, low = octave(high, low, *block.downsample, of_stage)
            high, low = relu(high + y[0], None if y[1] is None else low + y[1])
    return net.fc(high.mean((2, 3)))


@pytest.mark.parametrize("alpha", [0.125, 0.5])
def test_the_last_stage_is_the_authors(alpha):
    torch.manual_seed(0)
    net = resnet26().double().eval()
    randomise_norms(net)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    twin = octavize(net, alpha)
    torch.testing.assert_close(twin(x), authors_resnet(net, x, alpha), rtol=1e-11, atol=1e-11)
    first = twin.get_submodule("layer4.0.conv1")
    assert (first.out_split.low, first.in_split.low != ()) == ((), True)
    assert twin.get_submodule("layer4.0.conv2").stride == (1, 1)  # an average pool is in front of it
    assert net.layer4[0].conv2.stride == (2, 2)


@pytest.mark.parametrize(("alpha", "giga"), [(0.125, 3.565), (0.25, 3.104), (0.5, 2.367), (0.75, 1.880)])
def test_costs_of_resnet50(alpha, giga):
    """Counted apart from the code, from the paper's equations; the paper's Table 4 says 3.6, 3.1, 2.4 and 1.9."""
    macs = count_macs(octavize(torchvision.models.resnet50(), alpha), (1, 3, 224, 224))
    assert macs == pytest.approx(resnet50_macs(alpha)) == pytest.approx(giga * 1e9, rel=2e-4)


def resnet50_macs(alpha):
    def layer(c_in, c_out, taps, side, alpha_in, alpha_out):
        """Multiply-adds of a layer whose high output has `side` pixels a side."""
        low_in, low_out = int(alpha_in * c_in), int(alpha_out * c_out)
        pairs = (c_in - low_in) * (c_out - low_out) * side**2  # at full size
        others = c_in * c_out - (c_in - low_in) * (c_out - low_out)
        return taps * (pairs + others * (side // 2) ** 2)

    total = 3 * 64 * 49 * 112**2 + 2048 * 1000
    c_in, alpha_in = 64, 0.0
    for stage, (width, blocks, side) in enumerate(((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7))):
        of_stage = 0.0 if stage == 3 else alpha
        for block in range(blocks):
            strided = block == 0 and stage > 0
            before = side * 2 if strided else side
            total += layer(c_in, width, 1, before, alpha_in, of_stage)
            total += (
                strided_layer(width, width, 9, side, of_stage, of_stage)
                if strided
                else layer(width, width, 9, side, of_stage, of_stage)
            )
            total += layer(width, 4 * width, 1, side, of_stage, of_stage)
            if block == 0:
                total += (strided_layer if strided else layer)(c_in, 4 * width, 1, side, alpha_in, of_stage)
            c_in, alpha_in = 4 * width, of_stage
    return total


def strided_layer(c_in, c_out, taps, side, alpha_in, alpha_out):
    """Of stride 2: what feeds the high output is at its size, be it high or low; the rest is at half of it."""
    low_out = int(alpha_out * c_out)
    return taps * c_in * ((c_out - low_out) * side**2 + low_out * (side // 2) ** 2)
