from torch import nn

from octvideo.models import describe, layer_costs, octavize


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 1),
            nn.MaxPool2d(2), nn.Conv2d(4, 4, 1),
        )  # fmt: skip


def test_costs_by_hand():
    stem, first, second, last = layer_costs(
        octavize(Net(), 0.5, layer_alphas={"0": 0}, dense_stem=False), (1, 3, 8, 8)
    )
    assert (stem.path, stem.why_dense, stem.macs) == ("0", "asked for", 64 * 3 * 8 * 9)
    assert (first.channels_in, first.channels_out) == ((8, 0), (4, 4))
    assert first.dense_macs == 64 * 8 * 8 * 9
    assert first.macs == 64 * 8 * 4 * 9 + 16 * 8 * 4 * 9
    assert (first.activations, first.dense_activations) == (64 * 4 + 16 * 4, 64 * 8)
    assert (second.channels_in, second.channels_out) == ((4, 4), (2, 2))
    # High to high, high to low and low to both at low resolution.
    assert second.macs == 64 * 4 * 2 + 16 * 4 * 2 + 16 * 4 * 4
    assert last.why_dense == "last stage"


def test_the_table_has_a_line_for_each_and_the_total():
    table = describe(octavize(Net(), 0.5, dense_stem=False), (1, 3, 8, 8)).splitlines()
    assert len(table) == 6
    assert table[0].split()[:3] == ["convolution", "in", "out"]
    assert table[2].split()[:3] == ["1", "4+4", "4+4"]
    assert table[-1].startswith("all convolutions")


def test_a_dense_network():
    cost = layer_costs(Net(), (1, 3, 8, 8))[0]
    assert cost.macs == cost.dense_macs
    assert cost.why_dense == "not octavized"
