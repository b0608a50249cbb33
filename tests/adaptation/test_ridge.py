"""The regression and its matrix, against torch's own least squares and convolution."""

import pytest
import torch
from torch import nn

from octvideo.adaptation.patches import at_places, draw_places, plan_rows, put_weight_rows, weight_rows
from octvideo.adaptation.ridge import Ridge
from octvideo.layers import OctaveConv3d
from octvideo.layers.sums import Maps


def test_the_change_is_ridge_regression_of_what_is_left() -> None:
    torch.manual_seed(0)
    x, truth = torch.randn(500, 1, 6), torch.randn(1, 2, 6)
    x[..., 0] *= 30  # a channel of another scale is penalised alike
    y = x @ truth[0].T + 3 + 0.1 * torch.randn(500, 1, 2)
    y = y.reshape(500, 1, 2)
    start = truth + 0.3 * torch.randn(1, 2, 6)
    ridge = Ridge(start, has_offset=True)
    ridge.add(x[:400], y[:400])
    ridge.add(x[400:], y[400:], held_out=True)
    fit = ridge.solve()
    assert fit.strength == 0.001
    assert fit.after < 0.01 < fit.before
    centred = x[:400, 0] - x[:400, 0].mean(0)
    penalty = fit.strength * len(centred) * centred.square().mean(0)
    left = y[:400, 0] - x[:400, 0] @ start[0].T
    rows = torch.cat([centred, penalty.sqrt().diag()])
    expected = torch.linalg.lstsq(rows, torch.cat([left - left.mean(0), torch.zeros(6, 2)])).solution.T
    torch.testing.assert_close(fit.change[0], expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fit.offset, torch.full((1, 2), 3.0), rtol=0.05, atol=0.05)


def test_weights_that_no_change_helps_stay_as_they_are() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(40, 1, 30), torch.randn(1, 2, 30)
    ridge = Ridge(weight, has_offset=False)
    y = (x @ weight[0].T).reshape(40, 1, 2)
    ridge.add(x[:20], y[:20] + torch.randn(20, 1, 2))
    ridge.add(x[20:], y[20:], held_out=True)
    fit = ridge.solve()
    assert fit.strength is None
    assert not fit.change.any()


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2)])
def test_rows_times_weights_are_what_the_layer_gives(groups: int, stride: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = OctaveConv3d(8, 8, 3, stride, 1, groups=groups, bias=False, alpha_in=0.5, alpha_out=0.5)
    x = torch.randn(1, 4, 5, 10, 9), torch.randn(1, 4, 5, 5, 5)
    with torch.no_grad():
        outputs = dict(zip(("high", "low"), layer(x), strict=True))
    weight = layer.in_order()[0].detach().clone()
    for out, y in outputs.items():
        places = draw_places(y.shape[2:], 20, torch.Generator().manual_seed(0))
        maps = Maps(dict(zip(("high", "low"), x, strict=True)))
        rows = plan_rows(layer.plan, out, maps, layer.kernel_size, places)
        matrix = weight_rows(layer.plan, out, weight)
        found = torch.einsum("ngk,grk->ngr", rows, matrix).flatten(1)
        torch.testing.assert_close(found, at_places(y, places), rtol=1e-4, atol=1e-5)
        put_weight_rows(layer.plan, out, weight, matrix + 1)
    # A depth-wise layer's channels do not cross.
    torch.testing.assert_close(weight, nn.Parameter(layer.in_order()[0] + 1).detach())
