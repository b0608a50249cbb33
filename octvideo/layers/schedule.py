"""The order in which a plan is carried out: what is convolved once for several outputs, then each output by sizes."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from octvideo.layers.term import Term, union_of


class Shared(NamedTuple):
    """One convolution whose channels are those of several terms, side by side.

    Args:
        union: the convolution.
        terms: its parts, each with whether it brings its output's bias.
    """

    union: Term
    terms: tuple[tuple[Term, bool], ...]


class Step(NamedTuple):
    """What is added up at one size on the way to an output.

    Args:
        level: size of the output over this one: 1, 2 or 4.
        terms: convolved and added, by one sum of the engine; none where shared convolutions give it all.
        has_bias: whether the sum brings the output's bias.
    """

    level: float
    terms: tuple[Term, ...]
    has_bias: bool


class Schedule(NamedTuple):
    """A plan in the order in which it is carried out.

    Args:
        shared: convolutions that come first.
        steps: of every output, from the coarsest map to the output's size.
    """

    shared: tuple[Shared, ...]
    steps: dict[str, tuple[Step, ...]]


def schedule(terms: Sequence[Term], outputs: Collection[str], *, share: bool) -> Schedule:
    """The order in which a plan's terms are carried out.

    Args:
        terms: of all outputs.
        outputs: their names.
        share: whether terms that convolve the same map are one convolution: to engines to which a sum of
            convolutions is several kernels, one of all rows is cheaper than two of some.
    """
    groups: dict[object, list[Term]] = {}
    for term in terms if share else ():
        if term.geometry.groups == 1:
            groups.setdefault((term.into, term.before, term.geometry), []).append(term)
    together = [parts for parts in groups.values() if len(parts) > 1]
    shared = {term for parts in together for term in parts}
    # An output's bias comes with one of its terms: of those in sums of their own, the finest.
    biased = {
        min((t for t in terms if t.out == out), key=lambda t: (t in shared, t.after)) for out in outputs
    }
    steps = {}
    for out in outputs:
        mine = [t for t in terms if t.out == out]
        steps[out] = tuple(
            Step(level, parts, not biased.isdisjoint(parts))
            for level in (4, 2, 1)
            if level <= max(t.after for t in mine) or level == 1
            for parts in [tuple(t for t in mine if t.after == level and t not in shared)]
        )
    unions = (Shared(union_of(parts), tuple((t, t in biased) for t in parts)) for parts in together)
    return Schedule(tuple(unions), steps)
