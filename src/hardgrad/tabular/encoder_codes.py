"""The codes of levels: what each kind of `CategoricalEncoder` replaces a level by, as formulas on arrays. Never imports torch.

Levels are numbered in the order of their first appearance. A code needs no target (one-hot, digits, contrasts), or is made of the sums of
the target in each level, which are `category_codes.CategoryTotals` of one fold: number of rows n, sum S and square sum of the target less
the mean m of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError
from hardgrad.tabular.category_codes import CategoryTotals

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONTRASTS = ("helmert", "sum", "backward-difference")
PLAIN_KINDS = ("one-hot", "ordinal", "binary", "base-n", "count", "hashing", *CONTRASTS)
"""Kinds that need no target."""
TARGET_KINDS = ("target", "m-estimate", "james-stein", "leave-one-out", "catboost", "woe")
KINDS = (*PLAIN_KINDS, *TARGET_KINDS)
DEFAULT_SMOOTHING = {"target": 10.0, "m-estimate": 1.0, "catboost": 1.0, "woe": 1.0}
"""Kinds that take `smoothing`, and what it is by default."""
LARGEST_CONTRAST = 3000


def digits(K: int, base: int) -> Floats:
    """Return the numbers 1 .. K in a base, most significant digit first: [K, digits]; 0 is left for a level that was not seen.

    >>> digits(3, 2).tolist()
    [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    count = 1
    while base**count <= K:
        count += 1
    powers = base ** np.arange(count - 1, -1, -1)
    return np.asarray((np.arange(1, K + 1)[:, None] // powers) % base, dtype=np.float64)


def contrast(kind: str, K: int) -> Floats:
    """Return a contrast code of K levels [K, K - 1]; with an intercept, its span is that of one-hot codes.

    "helmert": level j + 1 against the mean of those before it, unscaled; "sum": each level against the mean of all, the last is -1
    everywhere; "backward-difference": level j + 1 against level j.

    Raises
    ------
    ParameterError : more than 3,000 levels; a contrast is a dense table of K (K - 1) numbers.

    Examples
    --------
    >>> contrast("helmert", 3).tolist(), contrast("sum", 3).tolist()
    ([[-1.0, -1.0], [1.0, -1.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    """
    if K > LARGEST_CONTRAST:
        raise ParameterError(
            f"kind={kind!r} got a column of {K:,} levels; expected at most {LARGEST_CONTRAST:,}. Use 'one-hot' (sparse) or a target code."
        )
    k, j = np.arange(K)[:, None], np.arange(1, K)
    if kind == "helmert":
        return np.where(k < j, -1.0, np.where(k == j, j, 0)).astype(np.float64)
    if kind == "sum":
        return np.where(k == K - 1, -1.0, k == j - 1).astype(np.float64)
    return np.asarray(np.where(k >= j, j / K, -(K - j) / K), dtype=np.float64)


@dataclass(frozen=True)
class TargetFormula:
    """How a target code is made of the sums of its level.

    Parameters
    ----------
    kind : one of `TARGET_KINDS`.
    smoothing : rows by which a level is drawn to the mean ("m-estimate", "catboost"), rows over which trust in it grows ("target"), or rows
        of each class added to it ("woe").
    min_samples_leaf : of "target": rows at which a level counts half.
    shrinkage : of "james-stein": "independent" or "pooled".
    """

    kind: str
    smoothing: float
    min_samples_leaf: float = 20.0
    shrinkage: str = "independent"

    def codes(self, totals: CategoryTotals, prior: Floats) -> Floats:
        """Return the codes of all levels [K, outputs]; a level without rows gets the prior."""
        n, total, square = totals.weight[0][:, None], totals.total[0], totals.square
        if self.kind == "woe":
            return self._evidence(n, total + n * prior)
        if self.kind in ("m-estimate", "catboost"):
            return np.asarray(prior + total / np.maximum(n + self.smoothing, 1e-300))
        deviation = total / np.maximum(n, 1.0)
        if self.kind == "leave-one-out":
            return np.asarray(prior + np.where(n > 1, deviation, 0.0))
        if self.kind == "target":
            with np.errstate(over="ignore"):  # exp of much is infinite, and the share is 0
                share = 1.0 / (1.0 + np.exp(-(n - self.min_samples_leaf) / self.smoothing))
            return np.asarray(prior + share * deviation)
        return np.asarray(prior + (1.0 - self._shrinkage(n, deviation, square)) * deviation)

    def unseen(self, prior: Floats) -> Floats:
        """Return the code of a level about which nothing is known [outputs]."""
        return np.zeros_like(prior) if self.kind == "woe" else prior

    def _evidence(self, n: Floats, s: Floats) -> Floats:
        """Log of the level's share among rows of the class over its share among the others; 0 where there is only one class."""
        r, N, S = self.smoothing, n.sum(), s.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            codes = np.log(((s + r) / (S + 2 * r)) / ((n - s + r) / (N - S + 2 * r)))
        return np.where((S > 0.5) & (S < N - 0.5), codes, 0.0)

    def _shrinkage(self, n: Floats, deviation: Floats, square: Floats) -> Floats:
        """The share B of the mean in a code, [levels, outputs]."""
        N, K = float(n.sum()), int((n > 0).sum())
        if K == N:
            return np.ones_like(deviation)
        mean = (n * deviation).sum(axis=0) / N
        everywhere = np.clip(square.sum(axis=0) - N * mean**2, 0.0, None) / (N - 1)
        if self.shrinkage == "pooled":
            between = (np.where(n > 0, deviation, 0.0) ** 2).sum(axis=0)
            B = np.broadcast_to(
                np.divide(
                    (K - 3) * everywhere * K / N, between, out=np.ones_like(between), where=between > 0
                ),
                deviation.shape,
            )
        else:
            inside = np.clip(square - n * deviation**2, 0.0, None) / np.maximum(n - 1, 1)
            both = inside + everywhere
            B = np.divide(inside, both, out=np.zeros_like(both), where=both > 0) * (K - 3) / max(K - 1, 1)
        return np.asarray(np.clip(B, 0.0, 1.0))


def leave_one_out(level: Ints, T: Floats, K: int, prior: Floats) -> Floats:
    """Return the training codes [n, outputs]: the mean of the other rows of the level; the prior where there is none.

    Parameters
    ----------
    level : number of each row's level [n], -1 for none.
    T : target less the prior [n, outputs].
    K : number of levels.
    """
    totals = level_totals(level, T, max(K, 1))
    n = totals.weight[0][level][:, None] - 1
    others = totals.total[0][level] - T
    return np.asarray(prior + np.where((n > 0) & (level >= 0)[:, None], others / np.maximum(n, 1.0), 0.0))


def ordered(level: Ints, T: Floats, prior: Floats, smoothing: float, order: Ints) -> Floats:
    """Return the training codes [n, outputs] that use only the rows before each one in `order`, a permutation of the rows."""
    by_level = order[np.argsort(level[order], kind="stable")]
    groups = level[by_level]
    begins = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    first = np.repeat(begins, np.diff(np.r_[begins, len(level)]))
    sums = np.vstack([np.zeros(T.shape[1]), np.cumsum(T[by_level], axis=0)])
    before = sums[:-1] - sums[first]
    count = np.arange(len(level)) - first
    codes = np.empty_like(T)
    codes[by_level] = prior + before / np.maximum(count + smoothing, 1e-300)[:, None]
    codes[level < 0] = prior
    return codes


def cross_fitted(level: Ints, T: Floats, K: int, prior: Floats, formula: TargetFormula, fold: Ints) -> Floats:
    """Return the training codes [n, outputs] that leave out, for the rows of a fold, the target of that fold."""
    codes = np.empty_like(T)
    for f in range(int(fold.max()) + 1):
        inside = fold == f
        of_level = formula.codes(level_totals(level[~inside], T[~inside], K), prior)
        # A row of no level has the number -1: the last code.
        codes[inside] = np.vstack([of_level, formula.unseen(prior)])[level[inside]]
    return codes


def level_totals(level: Ints, T: Floats, K: int) -> CategoryTotals:
    """Return the sums over each of K levels; rows of level -1 belong to none."""
    totals = CategoryTotals(T.shape[1])
    totals.add(level, T, np.ones(len(level)))
    totals.grow(K)
    return totals
