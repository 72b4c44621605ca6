"""The smoother matrices of a forest: averages of leaves, boosting, and least squares over all leaves. Never imports torch."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import expit

from hardgrad.core.errors import DataError, ParameterError, UnsupportedError
from hardgrad.tabular.weights import check_weights
from hardgrad.trees.forest import Forest
from hardgrad.trees.smoothing_rules import SmoothingRule, bootstrap_counts, read_model

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MAX_CELLS = 20_000**2
TOLERANCE = 1e-4  # LightGBM and XGBoost keep gradients in single precision


def effective_parameters(S: Any, n_train: int | None = None) -> float:
    """Return how many parameters a smoother uses on a set of rows: `n_train` times the mean squared length of its rows.

    A constant uses 1, the mean of the k nearest neighbours n/k, a tree as many on its training rows as it has leaves, interpolation n.

    Parameters
    ----------
    S : rows of a smoother matrix [n_query, n_train]: an array, a scipy array or a tensor.
    n_train : number of training rows; the number of columns by default.

    Raises
    ------
    DataError : S is no matrix, or has no rows.

    Examples
    --------
    >>> effective_parameters(np.full((3, 8), 1 / 8))
    1.0

    Source: Curth, Jeffares and van der Schaar, 2024, Why do Random Forests Work?
    """
    if len(S.shape) != 2 or 0 in S.shape:
        raise DataError(
            f"S has shape {tuple(S.shape)}; expected [n_query, n_train], at least one row and column."
        )
    S = S.detach() if hasattr(S, "detach") else S
    squares = (S * S).sum()  # elementwise for scipy's sparse arrays too
    return float((S.shape[1] if n_train is None else n_train) * squares / S.shape[0])


def check_size(rows: int, n_train: int) -> None:
    """Refuse a matrix that would not fit in the memory of a common machine."""
    if rows * n_train > MAX_CELLS:
        raise ParameterError(
            f"a smoother with {n_train:,} training rows and {rows:,} others has more than 20,000 x 20,000 cells. Pass fewer rows of "
            "X_query at a time, or for a bag of trees sparse=True."
        )


@dataclass(frozen=True)
class SmoothingProblem:
    """A forest, its rule, and what the smoother matrix follows from.

    Parameters
    ----------
    train, query : leaves that the rows reach, [rows, trees].
    weight : of the training rows in each tree, [n_train, trees].
    y : targets as numbers, [n_train, outputs], where given.
    """

    forest: Forest
    rule: SmoothingRule
    train: Ints
    query: Ints
    weight: Floats
    y: Floats | None

    @classmethod
    def read(
        cls, model: Any, X_train: Any, X_query: Any, y_train: Any = None, sample_weight: Any = None, rule: SmoothingRule | None = None,
    ) -> SmoothingProblem:  # fmt: skip
        """Read a model and rows (see `smoother_matrix`)."""
        forest, own = read_model(model)
        rule = own if rule is None else rule
        if forest.n_trees == 0 or (rule.leaves == "boost" and forest.n_outputs != 1):
            raise UnsupportedError(
                f"the forest has {forest.n_trees} trees and {forest.n_outputs} raw scores; expected at least one tree, and one score for "
                "leaves='boost': classes that are boosted at once have no smoother matrix. Use a binary target, or a forest that averages."
            )
        X, queries = (forest.encode(_table(rows)) for rows in (X_train, X_query))
        train, query = (forest.apply_encoded(rows).astype(np.int64) for rows in (X, queries))
        weight = _row_weights(sample_weight, len(X), forest.n_trees, rule)
        counts = bootstrap_counts(model, len(X)) if rule.leaves == "average" else None
        y = None if y_train is None else _targets(forest, y_train, len(X))
        return cls(forest, rule, train, query, weight if counts is None else weight * counts, y)

    def dense(self) -> Floats:
        """The matrix as an array."""
        if self.rule.leaves == "average":
            check_size(len(self.query), len(self.train))
            return np.asarray(self.averaged().toarray())
        if self.rule.leaves == "refit":
            return self._refitted(self.query)
        return collections.deque(self.running(), maxlen=1)[0][1]

    def curve(self) -> list[tuple[float, float]]:
        """Effective parameters on training rows and queries after each tree; of the whole forest alone for "refit"."""
        if self.rule.leaves == "refit":  # fewer trees would have other leaves
            pairs = [(self._refitted(self.train), self._refitted(self.query))]
            return [(effective_parameters(a), effective_parameters(b)) for a, b in pairs]
        return [(effective_parameters(a), effective_parameters(b)) for a, b in self.running()]

    def averaged(self) -> Any:
        """Mean over trees of the averages of leaves, CSR: queries by leaves times leaves by training rows."""
        trees = [self._tree(k, self.query) for k in range(self.forest.n_trees)]
        left = sp.hstack([indicator for indicator, _ in trees], format="csr")
        right = sp.vstack([average for _, average in trees], format="csr")
        return sp.csr_array(left @ right) / self.forest.n_trees

    def _tree(self, k: int, query: Ints) -> tuple[Any, Any]:
        """The leaf of each query, [rows, leaves], and the weight of each training row in each leaf, [leaves, n_train]."""
        train, b = self.train[:, k], self.weight[:, k]
        leaves, at = np.unique(train, return_inverse=True)
        mass = np.bincount(at, b, len(leaves)) + self.rule.ridge
        place = np.searchsorted(leaves, query[:, k])
        known = leaves[np.minimum(place, len(leaves) - 1)] == query[:, k]
        bad = np.flatnonzero(~known | (mass[np.minimum(place, len(leaves) - 1)] <= 0))
        if len(bad):
            raise DataError(
                f"{len(bad):,} query rows, the first in row {int(bad[0])}, reach a leaf of tree {k} that no training row with a positive "
                "weight reaches. Pass the rows and weights that the model was trained with."
            )
        share = np.divide(b, mass[at], out=np.zeros(len(b)), where=mass[at] > 0)
        indicator = sp.csr_array(
            (np.ones(len(place)), (np.arange(len(place)), place)), (len(place), len(leaves))
        )
        return indicator, sp.csr_array((share, (at, np.arange(len(at)))), (len(leaves), len(at)))

    def running(self) -> Iterator[tuple[Floats, Floats]]:
        """Yield the matrices of the training rows and of the queries after each tree, for an average or for boosting.

        The arrays are changed in place afterwards.
        """
        check_size(max(len(self.query), len(self.train)), len(self.train))
        if self.rule.leaves == "boost":
            yield from self._boosted()
            return
        sums = np.zeros((len(self.train), len(self.train))), np.zeros((len(self.query), len(self.train)))
        for k in range(self.forest.n_trees):
            for total, rows in zip(sums, (self.train, self.query), strict=True):
                indicator, average = self._tree(k, rows)
                total += (indicator @ average).toarray()
            yield sums[0] / (k + 1), sums[1] / (k + 1)

    def _boosted(self) -> Iterator[tuple[Floats, Floats]]:
        n, rate = len(self.train), self.rule.learning_rate
        logistic = self.rule.loss == "logistic"
        if logistic and self.y is None:
            raise ParameterError("boosting with the log-loss is not linear in the targets: pass y_train.")
        y = np.zeros(n) if self.y is None else self.y[:, 0]
        raw, start = self._start(y)
        S, Q = np.tile(start, (n, 1)), np.tile(start, (len(self.query), 1))
        for k in range(self.forest.n_trees):
            indicator, average = self._tree(k, self.query)
            at = np.searchsorted(np.unique(self.train[:, k]), self.train[:, k])
            if logistic:
                leaf, J = self._newton_leaves(at, y, raw, S)
                raw += rate * leaf[at]
            else:
                J = average.toarray() - average @ S
            Q += rate * (indicator @ J)
            S += rate * J[at]
            yield S, Q
        if logistic:
            self._compare(raw[:, None], self.train)

    def _start(self, y: Floats) -> tuple[Floats, Floats]:
        """Raw scores [n_train] before the first tree, and what each target has moved them by."""
        b = self.weight[:, 0]
        if self.rule.init == "zero":
            return np.full(len(b), self.forest.base[0]), np.zeros(len(b))
        mean, share = float(np.average(y, weights=b)), b / b.sum()
        if self.rule.loss == "squared":
            return np.full(len(b), mean), share
        if not 0.0 < mean < 1.0:
            raise DataError("y_train holds one class; boosting of a binary target needs both.")
        return np.full(len(b), np.log(mean / (1.0 - mean))), share / (mean * (1.0 - mean))

    def _newton_leaves(self, at: Ints, y: Floats, raw: Floats, S: Floats) -> tuple[Floats, Floats]:
        """Leaf values N / D and their derivatives by the targets: N sums y - p in a leaf, D sums p (1 - p)."""
        members: Any = sp.csr_array((self.weight[:, 0], (at, np.arange(len(at)))))
        p = expit(raw)
        slope = p * (1.0 - p)
        D = np.maximum(members @ slope + self.rule.ridge, np.finfo(np.float64).tiny)
        leaf = members @ (y - p) / D
        d_numerator = members.toarray() - members @ (slope[:, None] * S)
        d_denominator = members @ ((slope * (1.0 - 2.0 * p))[:, None] * S)
        return leaf, (d_numerator - leaf[:, None] * d_denominator) / D[:, None]

    def _refitted(self, query: Ints) -> Floats:
        """Least squares over the indicators of all leaves, in the form of its n x n kernel: in how many trees two rows agree."""
        check_size(max(len(query), len(self.train)), len(self.train))
        P, Q = (self._indicators(leaves) for leaves in (self.train, query))
        root = np.sqrt(self.weight[:, 0])
        K = (P @ P.T).toarray() * root * root[:, None]
        if self.rule.ridge > 0:
            inverse = np.linalg.inv(K + self.rule.ridge * np.eye(len(K)))
        else:
            inverse = np.linalg.pinv(K, hermitian=True, rcond=1e-10)
        return np.asarray(((Q @ P.T).toarray() * root) @ inverse * root)

    def _indicators(self, leaves: Ints) -> Any:
        """1 at each leaf that a row reaches, [rows, nodes]."""
        first = np.arange(0, leaves.size + 1, self.forest.n_trees)
        return sp.csr_array((np.ones(leaves.size), leaves.ravel(), first), (len(leaves), self.forest.n_nodes))

    def check(self, S: Any) -> None:
        """Hold `S @ y` against the predictions of the forest, where both mean the same."""
        if self.y is None or self.rule.leaves == "refit" or self.rule.loss == "logistic":
            return
        start = self.forest.base if self.rule.leaves == "boost" and self.rule.init == "zero" else 0.0
        self._compare(S @ (self.y - start) + start, self.query)

    def _compare(self, raw: Floats, leaves: Ints) -> None:
        """Refuse raw scores [rows, outputs] that are not those of the model: it was trained otherwise than its rule says."""
        off = np.abs(raw - self.forest.sum_leaves(leaves.astype(np.int32))).max(initial=0.0)
        if not off <= TOLERANCE * max(1.0, float(np.abs(raw).max(initial=0.0))):
            raise DataError(
                f"the smoother's predictions differ from the model's by up to {off:.3g}. Pass the rows, targets and weights that the "
                "model was trained with; for a Forest, the rule that its leaves follow."
            )


def _table(X: Any) -> Any:
    return np.asarray(X) if isinstance(X, list | tuple) else X


def _row_weights(weight: Any, n: int, trees: int, rule: SmoothingRule) -> Floats:
    if weight is not None and np.ndim(weight) == 2:
        if rule.leaves != "average":
            raise UnsupportedError(
                f"sample_weight for each tree is for averages; the rule is {rule.leaves!r}. Pass [{n}] weights."
            )
        each = np.asarray(weight, dtype=np.float64)
        if each.shape != (n, trees):
            raise DataError(
                f"sample_weight has shape {each.shape}; expected [{n}], or [{n}, {trees}] for each tree."
            )
        return np.stack([check_weights(column, n) for column in each.T], axis=1)
    return np.repeat(check_weights(weight, n)[:, None], trees, axis=1)


def _targets(forest: Forest, y: Any, n: int) -> Floats:
    """Targets as numbers [n, outputs]: indicators of the classes, or of the second class for one raw score."""
    values = np.asarray(y)
    if len(values) != n:
        raise DataError(f"y_train has {len(values):,} values; expected one for each of the {n:,} rows.")
    if forest.task == "regression":
        return values.astype(np.float64).reshape(n, -1)
    indicators = (values.reshape(n, 1) == np.asarray(forest.classes)[None, :]).astype(np.float64)
    return np.asarray(indicators if forest.n_outputs > 1 else indicators[:, 1:])
