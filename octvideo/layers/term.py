"""The terms that a plan is made of, each one convolution."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from octvideo.engines.geometry import Geometry


class Term(NamedTuple):
    """One convolution of one input into one output.

    Args:
        out, into: "high" or "low"; of a term that several outputs share, ``out`` is "both".
        rows, columns: its block of the weight.
        geometry: of the convolution.
        before: size of the convolved map over that of the input: 1, or 1/2 or 1/4 by averages.
        after: size of the output over that of the convolution's result: 1, 2 or 4 by repetition, 1/2 by averages.
    """

    out: str
    into: str
    rows: range
    columns: range
    geometry: Geometry
    before: float = 1
    after: float = 1

    def block(self, weight: Tensor) -> Tensor:
        """Its block of the dense weight, as a view."""
        return weight[self.rows.start : self.rows.stop, self.columns.start : self.columns.stop]


def union_of(terms: Sequence[Term]) -> Term:
    """One term with the rows and columns of all: they lie side by side."""
    rows, columns = (
        range(min(r.start for r in ranges), max(r.stop for r in ranges))
        for ranges in ([t.rows for t in terms], [t.columns for t in terms])
    )
    return terms[0]._replace(out="both", rows=rows, columns=columns, after=1)
