"""Ridge regression towards given weights, from moments: the memory is that of a square of the columns.

N samples, G groups (regressions side by side), K columns, R rows of weights in a group.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)


@dataclass
class Fit:
    """What a regression found.

    Attributes:
        change: of the weights, `(G, R, K)`.
        offset: of the outputs, `(G, R)`; zeros where none was allowed.
        strength: the penalty's, of STRENGTHS; None where the weights as they were, with an offset, did best on the
            held-out samples.
        before, after: error on the held-out samples, as a share of the targets' variance.
    """

    change: Tensor
    offset: Tensor
    strength: float | None
    before: float
    after: float


class Ridge:
    """Collects samples, and solves for the change of the weights that brings outputs to their targets.

    The penalty is on the change, for each column in proportion to the variance of what it is multiplied with: so it
    means the same for channels of any scale. Of several strengths the one is taken with the least error on samples that
    were held out; errors are divided by each target's variance, since a norm follows.

    Args:
        weight: `(G, R, K)`, where the search starts.
        has_offset: whether a number may be added to each output.
    """

    def __init__(self, weight: Tensor, has_offset: bool) -> None:
        groups, rows, columns = weight.shape
        self.weight, self.has_offset = weight, has_offset
        self._count = 0
        self._square = weight.new_zeros(groups, columns, columns)
        self._cross = weight.new_zeros(groups, columns, rows)
        self._mean_x, self._mean_error = weight.new_zeros(groups, columns), weight.new_zeros(groups, rows)
        self._held_out: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, x: Tensor, y: Tensor, *, held_out: bool = False) -> None:
        """Samples.

        Args:
            x: what the weights are multiplied with, `(N, G, K)`.
            y: the targets, `(N, G, R)`.
            held_out: whether they choose the strength, instead of being fitted.
        """
        x, y = x.movedim(1, 0), y.movedim(1, 0)
        error = y - x @ self.weight.mT
        if held_out:
            self._held_out.append((x, y, error))
            return
        self._count += x.shape[1]
        self._square.baddbmm_(x.mT, x)
        self._cross.baddbmm_(x.mT, error)
        self._mean_x += x.sum(1)
        self._mean_error += error.sum(1)

    def solve(self) -> Fit:
        """The best of all strengths, and of an offset alone."""
        count = max(self._count, 1)
        mean_x, mean_error = self._mean_x / count, self._mean_error / count
        square, cross = self._square, self._cross
        if self.has_offset:
            square = square - count * mean_x[:, :, None] * mean_x[:, None]
            cross = cross - count * mean_x[:, :, None] * mean_error[:, None]
        power = square.diagonal(dim1=1, dim2=2)
        power = power + 1e-6 * power.mean(1, keepdim=True) + 1e-12  # channels that are always off
        nothing = torch.zeros_like(self.weight)
        before = self._error(nothing, torch.zeros_like(mean_error))
        fits: list[tuple[Tensor, float | None]] = [(nothing, None)]
        for penalty in STRENGTHS if self._count else ():
            factor, failed = torch.linalg.cholesky_ex(square + torch.diag_embed(penalty * power))
            if not failed.any():
                fits.append((torch.cholesky_solve(cross, factor).mT, penalty))
        best: Fit | None = None
        for change, strength in fits:
            offset = torch.zeros_like(mean_error)
            if self.has_offset and self._count:
                offset = mean_error - (change @ mean_x[:, :, None])[..., 0]
            after = self._error(change, offset)
            if best is None or after < best.after:
                best = Fit(change, offset, strength, before, after)
        assert best is not None
        return best

    def _error(self, change: Tensor, offset: Tensor) -> float:
        """On the held-out samples; the mean over targets of their error over their variance."""
        if not self._held_out:
            return 0.0
        x, y, error = (torch.cat(parts, 1) for parts in zip(*self._held_out, strict=True))
        left = (error - x @ change.mT - offset[:, None]).square().mean(1)
        return float((left / (y.var(1, correction=0) + 1e-12)).mean())
