"""Target codes of one categorical column: what the target is on average in each category, drawn towards the average of all rows.

The code of category k is m + S_k / (W_k + c): m the mean of all rows, S_k the sum of the target minus m over the rows of the category, W_k
their number. The constant c, in rows, is estimated from the column itself (the credibility estimate of actuaries): the variance of the
target inside categories over the variance of the true means between them. Categories that hardly differ are drawn strongly to the mean,
rare ones more than frequent ones. Cross-fitted codes leave out, for the rows of a fold, the target of that fold; m and c stay those of all
rows, so that a row's own label does not move the code of its rare category the other way.

Totals are added up piece by piece, so that a table larger than memory can be coded as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
MAX_CODES = 10
"""Codes of one category; with more classes or outputs, codes are of the directions in which the target varies most."""
LEAST_SHRINKAGE, MOST_SHRINKAGE = 1.0, 1000.0

Floats = NDArray[np.float64]


@dataclass
class CategoryTotals:
    """Sums over the rows of each category and fold; the number of categories grows as they appear.

    Parameters
    ----------
    outputs : columns of the target matrix.
    folds : folds for cross-fitting; 1 for none.
    """

    outputs: int
    folds: int = 1
    weight: Floats = field(init=False)
    rows: Floats = field(init=False)
    total: Floats = field(init=False)
    square: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.weight = np.zeros((self.folds, 0))
        self.rows = np.zeros(0)
        self.total = np.zeros((self.folds, 0, self.outputs))
        self.square = np.zeros((0, self.outputs))

    @property
    def n_categories(self) -> int:
        """Categories so far."""
        return len(self.rows)

    def add(
        self, category: NDArray[np.int64], T: Floats, weight: Floats, fold: NDArray[np.int64] | None = None
    ) -> None:
        """Add rows.

        Parameters
        ----------
        category : number of each row's category [n]; a negative one (missing, or not to be counted) is left out.
        T : target matrix less its mean over all rows [n, outputs].
        weight : row weights [n].
        fold : fold of each row [n].
        """
        used = category >= 0
        category, T, weight = category[used], T[used], weight[used]
        K = max(self.n_categories, int(category.max(initial=-1)) + 1)
        self.grow(K)
        cell = category if fold is None else fold[used] * K + category
        cells = self.folds * K
        self.weight += np.bincount(cell, weights=weight, minlength=cells).reshape(self.folds, K)
        self.rows += np.bincount(category, weights=weight > 0, minlength=K)
        for j in range(self.outputs):
            weighted = weight * T[:, j]
            self.total[:, :, j] += np.bincount(cell, weights=weighted, minlength=cells).reshape(self.folds, K)
            self.square[:, j] += np.bincount(category, weights=weighted * T[:, j], minlength=K)

    def grow(self, K: int) -> None:
        """Make room for K categories; what has no rows counts nothing."""
        more = K - self.n_categories
        if more > 0:
            self.weight = np.pad(self.weight, ((0, 0), (0, more)))
            self.rows = np.pad(self.rows, (0, more))
            self.total = np.pad(self.total, ((0, 0), (0, more), (0, 0)))
            self.square = np.pad(self.square, ((0, more), (0, 0)))

    def take(self, order: NDArray[np.int64]) -> CategoryTotals:
        """Return the totals with categories in another order; categories left out of it are forgotten."""
        taken = CategoryTotals(self.outputs, self.folds)
        taken.weight, taken.rows = self.weight[:, order], self.rows[order]
        taken.total, taken.square = self.total[:, order], self.square[order]
        return taken

    def codes(self, prior: Floats) -> Floats:
        """Return the codes of all categories, and last that of an unseen one, from all rows: [K + 1, outputs].

        Parameters
        ----------
        prior : mean of the target over all rows [outputs].
        """
        return self._shrunk(self.weight.sum(axis=0), self.total.sum(axis=0), prior)

    def cross_fitted(self, prior: Floats) -> Floats:
        """Return for each fold the codes from the rows of the other folds: [folds, K + 1, outputs]."""
        weight, total = self.weight.sum(axis=0), self.total.sum(axis=0)
        folds = [
            self._shrunk(weight - self.weight[f], total - self.total[f], prior) for f in range(self.folds)
        ]
        return np.stack(folds)

    def _shrunk(self, weight: Floats, total: Floats, prior: Floats) -> Floats:
        scale = self.weight.sum() / max(self.rows.sum(), 1.0)  # weights are counted in rows of average weight
        scale = scale if scale > 0 else 1.0
        rows = np.clip(weight / scale, 0.0, None)[:, None]
        codes = (total / scale) / (rows + self.shrinkage())
        return np.vstack([codes, np.zeros(self.outputs)]) + prior

    def shrinkage(self) -> Floats:
        """Return the constant c of each output, in rows, within [1, 1000]."""
        weight, total = self.weight.sum(axis=0), self.total.sum(axis=0)
        present = weight > 0
        w, K, n = weight[present][:, None], int(present.sum()), float(self.rows.sum())
        if K < 2 or n <= K:
            return np.full(self.outputs, MOST_SHRINKAGE if n <= K else LEAST_SHRINKAGE)
        mean = total[present] / w
        inside = np.clip(self.square[present] - w * mean**2, 0.0, None).sum(axis=0) / (n - K)
        all_weight = float(w.sum())
        spread = (w * (mean - (w * mean).sum(axis=0) / all_weight) ** 2).sum(axis=0) - (K - 1) * inside
        between = spread / (all_weight - float((w**2).sum()) / all_weight)
        scale = all_weight / n
        with np.errstate(divide="ignore", invalid="ignore"):
            constant = np.where(between > 0, inside / (between * scale), MOST_SHRINKAGE)
        return np.asarray(
            np.clip(np.nan_to_num(constant, nan=LEAST_SHRINKAGE), LEAST_SHRINKAGE, MOST_SHRINKAGE)
        )


def balanced_folds(T: Floats, folds: int, random_state: int) -> NDArray[np.int64]:
    """Deal rows to folds at random, each fold with nearly the same targets.

    >>> balanced_folds(np.array([[0.0], [1.0], [0.0], [1.0]]), 2, 0).reshape(2, 2).sum(axis=0).tolist()
    [1, 1]
    """
    generator = np.random.default_rng(random_state)
    shuffled = generator.permutation(len(T))
    order = shuffled[np.lexsort(T[shuffled].T[::-1])] if T.shape[1] else shuffled
    fold = np.empty(len(T), dtype=np.int64)
    fold[order] = np.arange(len(T)) % folds
    return fold


def hashed_folds(number: NDArray[np.int64], folds: int, random_state: int) -> NDArray[np.int64]:
    """Return folds of rows by their numbers alone, the same on every pass over a file.

    >>> hashed_folds(np.arange(6), 5, 0)[2:].tolist() == hashed_folds(np.arange(2, 6), 5, 0).tolist()
    True
    """
    start = np.uint64(random_state * 0x9E3779B97F4A7C15 % 2**64)
    x = number.astype(np.uint64) + start  # integers of arrays wrap around, as they should here
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) % np.uint64(folds)).astype(np.int64)


def principal_directions(covariance: Floats, count: int) -> Floats:
    """Return the directions [outputs, count] in which targets vary most, each with its largest entry positive."""
    _, vectors = np.linalg.eigh(covariance)
    chosen = vectors[:, ::-1][:, :count]
    largest = np.abs(chosen).argmax(axis=0)
    signs = np.where(chosen[largest, np.arange(chosen.shape[1])] < 0, -1.0, 1.0)
    return np.asarray(chosen * signs)


def class_targets(share: Floats) -> Floats:
    """Return what each class counts as when categories are coded [classes, outputs]: indicators, at most ten outputs.

    Parameters
    ----------
    share : share of each class, its sum 1.

    >>> class_targets(np.array([0.7, 0.3])).tolist()
    [[0.0], [1.0]]
    """
    K = len(share)
    if K <= 2:
        return np.arange(float(K))[:, None]
    return (
        np.eye(K)
        if K <= MAX_CODES
        else principal_directions(np.diag(share) - np.outer(share, share), MAX_CODES)
    )
