"""An octave convolution as data: a plan of terms, which everything that runs or shows a layer reads.

Octave convolution, https://arxiv.org/abs/1904.05049, section 3.3. Each output is a sum of terms, each the convolution
of one input with one block of the dense weight, resampled in front of it or behind it:

    high = conv(high, W[high, high])             + upsample(conv(low, W[high, low]))
    low  = conv(downsample(high), W[low, high])  + conv(low, W[low, low])

Where a layer halves height and width its outputs are at 1/2 and 1/4 of its high input, and the terms follow:

    high = conv(average 2x2 of high, W[high, high])  + conv(low, W[high, low])
    low  = conv(average 4x4 of high, W[low, high])   + conv(average 2x2 of low, W[low, low])

The gradient of the inputs is the same plan read backwards (``Plan.backwards``): every term from its output to its
input, its block transposed, and what was in front of it behind it. Averages and repetitions are each other's adjoints
up to the number of pixels that an average is over.
"""

import functools
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from octvideo.engines.geometry import Geometry
from octvideo.engines.interface import Request
from octvideo.layers.schedule import Schedule, schedule
from octvideo.layers.term import Term

FREQUENCIES = ("high", "low")
# How many pixels of a high map one of this frequency spans along a side.
_SPAN = {"high": 1, "low": 2}


@dataclass(frozen=True)
class Plan:
    """The terms of a layer.

    Args:
        terms: of every output, what comes from high first.
        channels: of every output, its rows of the weight and the bias; in a plan read backwards, its columns.
        is_linear: whether repetition is linear interpolation instead.
        is_backwards: whether convolutions are transposed, averages sums, and repetitions divided by what they average.
    """

    terms: tuple[Term, ...]
    channels: dict[str, range]
    is_linear: bool = False
    is_backwards: bool = False
    # With and without sharing, made once: a tracer would follow their making in every call.
    schedules: dict[bool, Schedule] = field(init=False, repr=False, compare=False)
    text: str = field(init=False, repr=False, compare=False)  # `Plan.of` reads it
    _backwards: dict[tuple[str, ...], "Plan"] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "schedules",
            {share: schedule(self.terms, self.channels, share=share) for share in (False, True)},
        )
        object.__setattr__(self, "text", self._written())

    @classmethod
    @functools.cache
    def of(cls, text: str) -> "Plan":
        """The plan whose text this is."""
        terms, channels, is_linear, is_backwards = json.loads(text)
        read = []
        for out, into, rows, columns, (*sizes, groups), before, after in terms:
            stride, padding, dilation = map(tuple, sizes)
            geometry = Geometry(stride, padding, dilation, groups)
            read.append(Term(out, into, range(*rows), range(*columns), geometry, before, after))
        outputs = {name: range(*ends) for name, ends in channels.items()}
        return cls(tuple(read), outputs, is_linear, is_backwards)

    def _written(self) -> str:
        terms = [[_ends(part) if isinstance(part, range) else part for part in term] for term in self.terms]
        channels = {name: _ends(rows) for name, rows in self.channels.items()}
        return json.dumps([terms, channels, self.is_linear, self.is_backwards])

    @property
    def is_strided(self) -> bool:
        """Whether a convolution's own stride shrinks maps."""
        return any(max(term.geometry.stride[-2:]) > 1 for term in self.terms)

    def request(self, x: Tensor, weight: Tensor, *, trains: bool) -> Request:
        """What an engine is asked, for one of the inputs."""
        rows, geometries = [len(term.rows) for term in self.terms], [term.geometry for term in self.terms]
        return Request(x, weight, rows, geometries, trains, self.is_backwards)

    def backwards(self, inputs: Iterable[str]) -> "Plan":
        """The plan of the gradients of these inputs from those of the outputs."""
        key = tuple(inputs)
        if key not in self._backwards:
            self._backwards[key] = self._read_backwards(key)
        return self._backwards[key]

    def _read_backwards(self, inputs: tuple[str, ...]) -> "Plan":
        terms = tuple(
            term._replace(out=term.into, into=term.out, before=1 / term.after, after=1 / term.before)
            for term in self.terms
            if term.into in inputs
        )
        channels = {term.out: term.columns for term in terms}
        return replace(self, terms=terms, channels=channels, is_backwards=True)

    def averaging_behind(self, kernel: Sequence[int], vector: int = 16) -> "Plan":
        """The plan with the high input's averages behind the convolution, where that is the cheaper side.

        They commute with kernels of one pixel. Then one convolution of the high input gives both outputs, and one of
        all rows costs a kernel that computes whole vectors of channels no more than one of most of them.
        """
        crossing = next((t for t in self.terms if (t.out, t.into, t.before) == ("low", "high", 0.5)), None)
        straight = next((t for t in self.terms if t.out == t.into == "high"), None)
        if crossing is None or straight is None or straight.before != 1 or tuple(kernel[-2:]) != (1, 1):
            return self
        high, low = len(straight.rows), len(crossing.rows)
        vectors = -(-(high + low) // vector), -(-high // vector)
        if crossing.geometry.groups > 1 or vectors[0] * vector > vectors[1] * vector + low / 4:
            return self
        behind = crossing._replace(before=1, after=0.5)
        return replace(self, terms=tuple(behind if t is crossing else t for t in self.terms))


def octave_plan(
    in_channels: dict[str, int],
    out_channels: dict[str, int],
    geometry: Geometry,
    *,
    pools: bool = True,
    is_linear: bool = False,
    high_to_low: bool = True,
    low_to_high: bool = True,
    is_depthwise: bool = False,
) -> Plan:
    """The plan of an octave convolution.

    Args:
        in_channels, out_channels: of each frequency that has some.
        geometry: the dense layer's; its spatial stride is 1 or 2.
        pools: whether averages shrink maps (the paper's choice), and not the convolutions' strides.
        is_linear: whether repetition is linear interpolation.
        high_to_low, low_to_high: whether the terms that cross exist; one that alone feeds its output does.
        is_depthwise: whether every channel has a group of its own: then none crosses.
    """
    rows = _consecutive(out_channels)
    of_group = {name: 1 if is_depthwise else count // geometry.groups for name, count in in_channels.items()}
    columns = _consecutive(of_group)
    crosses = {("low", "high"): high_to_low, ("high", "low"): low_to_high}
    terms = []
    for out, into in itertools.product(rows, columns):
        if out != into and out in columns and (is_depthwise or not crosses[out, into]):
            continue
        shrinks = geometry.stride[-1] * _SPAN[out] / _SPAN[into]  # 4, 2, 1, or 1/2
        stride = 1 if pools else max(int(shrinks), 1)
        own = geometry._replace(stride=(*geometry.stride[:-2], stride, stride))
        block = columns[into]
        if is_depthwise:
            own, block = own._replace(groups=in_channels[into]), range(1)
        before = 1 / max(shrinks, 1) if pools else 1.0
        terms.append(Term(out, into, rows[out], block, own, before, after=1 / min(shrinks, 1)))
    return Plan(tuple(terms), rows, is_linear)


def _ends(numbers: range) -> tuple[int, int]:
    return numbers.start, numbers.stop


def _consecutive(counts: dict[str, int]) -> dict[str, range]:
    """Channel numbers, high ones first."""
    high = counts.get("high", 0)
    ranges = {"high": range(high), "low": range(high, high + counts.get("low", 0))}
    return {name: ranges[name] for name in FREQUENCIES if counts.get(name)}
