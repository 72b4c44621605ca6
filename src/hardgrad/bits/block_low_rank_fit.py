"""Blocks fitted to a given matrix by least squares, and trimmed until they hold no more numbers than allowed. Never imports torch.

Given the right factors of all blocks, each row of the matrix is a linear least-squares problem in the left ones, and the other way
round. The inverse of its normal matrix also says how much the error grows when one number is left out (the saliency of Hassibi and
Stork, 1993, Second Order Derivatives for Network Pruning), so that trimming takes the ends of blocks that are missed least.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
RIDGE = 1e-9  # of the mean of the diagonal: two blocks may be the same, and the smaller pair of factors is as good as any
SHARE_OF_EXCESS = 8  # a round of trimming takes away an eighth of what is too much
LAST_SWEEPS = 20


@dataclass(frozen=True)
class Side:
    """The rows, or the columns, of all blocks.

    Parameters
    ----------
    start, count : [blocks]; cyclic.
    factors : (blocks, n, rank), zero outside a block.
    """

    start: Places
    count: Places
    factors: Floats

    @property
    def support(self) -> NDArray[np.bool_]:
        """Which of the n places belong to a block, (blocks, n)."""
        n = self.factors.shape[1]
        inside: NDArray[np.bool_] = (np.arange(n) - self.start[:, None]) % n < self.count[:, None]
        return inside


def numbers(rows: Side, columns: Side) -> int:
    """Return how many numbers the factors of all blocks hold."""
    alive = (rows.count > 0) & (columns.count > 0)
    return int(((rows.count + columns.count) * alive).sum()) * int(rows.factors.shape[2])


def refit(target: Floats, rows: Side, columns: Side) -> tuple[Side, Side]:
    """Return the factors after alternating least squares, in the same places."""
    for _ in range(LAST_SWEEPS):
        rows, _ = _solve(target, rows, columns)
        columns, _ = _solve(target.T, columns, rows)
    return rows, columns


def trim(target: Floats, rows: Side, columns: Side, budget: int) -> tuple[Side, Side]:
    """Return blocks that hold at most `budget` numbers, the ends that the target misses least cut off, fitted to the target.

    Parameters
    ----------
    target : (m, n).
    rows, columns : of the same blocks.
    budget : numbers.
    """
    while numbers(rows, columns) > budget:
        rows, row_saliency = _solve(target, rows, columns)
        columns, column_saliency = _solve(target.T, columns, rows)
        excess = numbers(rows, columns) - budget
        rows, columns = _cut(rows, columns, row_saliency, column_saliency, max(1, excess // SHARE_OF_EXCESS))
    return refit(target, rows, columns)


def error(target: Floats, rows: Side, columns: Side) -> float:
    """Return the squared error over the squares of the target."""
    product = np.einsum("bmk,bnk->mn", rows.factors, columns.factors, optimize=True)
    return float(np.square(target - product).sum() / max(np.square(target).sum(), np.finfo(float).tiny))


def _solve(target: Floats, side: Side, other: Side) -> tuple[Side, Floats]:
    """Return the side with its best factors given the other's, and how much the error grows without each place, (blocks, n)."""
    blocks, n, rank = side.factors.shape
    basis = other.factors.transpose(0, 2, 1).reshape(blocks * rank, -1)
    gram, onto = basis @ basis.T, basis @ target.T
    factors, saliency = np.zeros_like(side.factors), np.zeros((blocks, n))
    # Blocks begin and end in few places, so many rows share one normal matrix.
    patterns, pattern_of = np.unique(side.support.T, axis=0, return_inverse=True)
    for pattern, inside in enumerate(patterns):
        active = np.flatnonzero(inside)
        if not len(active):
            continue
        places = np.flatnonzero(pattern_of.ravel() == pattern)
        chosen = (active[:, None] * rank + np.arange(rank)).ravel()
        normal = gram[np.ix_(chosen, chosen)]
        ridge = RIDGE * np.trace(normal) / len(normal) + np.finfo(float).tiny
        inverse = np.linalg.inv(normal + ridge * np.eye(len(normal)))
        found = (inverse @ onto[np.ix_(chosen, places)]).reshape(len(active), rank, len(places))
        own = inverse.reshape(len(active), rank, len(active), rank)[range(len(active)), :, range(len(active))]
        factors[np.ix_(active, places)] = found.transpose(0, 2, 1)
        saliency[np.ix_(active, places)] = (found * np.linalg.solve(own, found)).sum(1)
    return replace(side, factors=factors), saliency


def _cut(
    rows: Side, columns: Side, row_saliency: Floats, column_saliency: Floats, most: int
) -> tuple[Side, Side]:
    """Cut one place off the sides of blocks where that hurts least, `most` numbers in all, or one place where that is more."""
    ends = [
        _cheapest_end(side, saliency) for side, saliency in ((rows, row_saliency), (columns, column_saliency))
    ]
    costs = np.concatenate([cost for cost, _ in ends])
    count = max(1, most // rows.factors.shape[2])
    order = np.argsort(costs, kind="stable")[: min(count, int(np.isfinite(costs).sum()))]
    blocks = len(rows.start)
    cut = [
        _without(rows, ends[0][1], order[order < blocks]),
        _without(columns, ends[1][1], order[order >= blocks] - blocks),
    ]
    gone = (cut[0].count == 0) | (cut[1].count == 0)
    return _emptied(cut[0], gone), _emptied(cut[1], gone)


def _cheapest_end(side: Side, saliency: Floats) -> tuple[Floats, Places]:
    """Return for each block the growth of error and the place of its cheaper end; a block that goes all round may be cut anywhere."""
    n = saliency.shape[1]
    last = (side.start + side.count - 1) % n
    at = np.arange(len(side.start))
    place = np.where(saliency[at, side.start] <= saliency[at, last], side.start, last)
    place = np.where(side.count == n, saliency.argmin(1), place)
    return np.where(side.count > 0, saliency[at, place], np.inf), place


def _without(side: Side, place: Places, blocks: Places) -> Side:
    n = side.factors.shape[1]
    start, count, factors = side.start.copy(), side.count.copy(), side.factors.copy()
    # The first place of a block is cut by starting later; so is any place of a block that goes all round.
    first = (place[blocks] == start[blocks]) | (count[blocks] == n)
    start[blocks] = np.where(first, (place[blocks] + 1) % n, start[blocks])
    count[blocks] -= 1
    factors[blocks, place[blocks]] = 0.0
    return Side(start, count, factors)


def _emptied(side: Side, gone: NDArray[np.bool_]) -> Side:
    return Side(side.start, np.where(gone, 0, side.count), np.where(gone[:, None, None], 0.0, side.factors))


def scaled(side: Side, factor: float) -> Side:
    """Return the side with its factors multiplied."""
    return replace(side, factors=side.factors * factor)


def truncated(target: Floats, blocks: int, rank: int, full: int) -> tuple[Side, Side]:
    """Return blocks of which the first `full` cover the whole target and share its first singular vectors; the others are empty."""
    u, s, vt = np.linalg.svd(target, full_matrices=False)
    size = blocks * rank
    values = np.zeros(size)
    values[: min(size, len(s))] = np.sqrt(s[:size])
    covers = np.arange(blocks) < full

    def side(vectors: Any, n: int) -> Side:
        padded = np.zeros((size, n))
        padded[: min(size, len(s))] = vectors[:size]
        factors = (padded * values[:, None]).reshape(blocks, rank, n).transpose(0, 2, 1)
        return Side(np.zeros(blocks, np.int64), np.where(covers, n, 0), factors * covers[:, None, None])

    return side(u.T, target.shape[0]), side(vt, target.shape[1])
