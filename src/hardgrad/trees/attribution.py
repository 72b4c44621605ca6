"""What each column contributes to one row's score: interventional Shapley values, in exact rational arithmetic. Never imports torch.

The game: the columns of a set S keep the values of the explained row, all others take those of a background row; its value is the sum of
the leaves, averaged over the background rows. Players are raw columns (all features of a column move together). Shapley values are the
only fair division of the difference between the row's score and the mean score of the background: they sum to it exactly.

How: with one background row, a descent of a tree branches only where the two rows would part. A column that was sent the row's way is
IN, one that was sent the background's way is OUT, and a leaf reached with p columns in and q out adds (p-1)! q! / (p+q)! of its value to
each column in and takes p! (q-1)! / (p+q)! from each column out. All background rows go down together. Oblique nodes decide their
columns one by one, so the same holds for them; no subset of columns is ever enumerated beyond those that a path meets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import factorial

import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.forest import LEAF, OBLIQUE, Forest
from hardgrad.trees.forest_sums import require_plain

Columns = frozenset[int]


@dataclass(frozen=True)
class Attribution:
    """Exact figures, one a raw score.

    Parameters
    ----------
    expected : mean exact score of the background rows, [outputs].
    exact : exact (real-number) sum of the row's leaves, [outputs].
    contributions : [columns][outputs]; sums over columns to `exact - expected`, with no rounding anywhere.
    """

    expected: tuple[Fraction, ...]
    exact: tuple[Fraction, ...]
    contributions: tuple[tuple[Fraction, ...], ...]


def attribute(forest: Forest, x: NDArray[np.float64], background: NDArray[np.float64]) -> Attribution:
    """Return each raw column's exact contribution to the raw scores of one row.

    Parameters
    ----------
    forest : the model.
    x : one encoded row, float64 [features].
    background : encoded rows to compare with, float64 [n, features], n >= 1.

    Raises
    ------
    UnsupportedError : the forest has linear nodes or affine leaves.

    Examples
    --------
    >>> from hardgrad.trees import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 0.0, "left": {"value": 1.0}, "right": {"value": 3.0}}
    >>> forest = forest_from_trees([tree], ["a", "b"])
    >>> attribute(forest, np.array([1.0, 0.0]), np.array([[-1.0, 0.0], [2.0, 5.0]])).contributions
    ((Fraction(1, 1),), (Fraction(0, 1),))
    """
    require_plain(forest, "attribute()", "Use hardgrad.report.importance.permutation_importance.")
    walk = _Walk(forest, x, background)
    weights: dict[tuple[int, int], Fraction] = {}
    leaf_rows: Counter[int] = Counter()
    for root in forest.tree_offset[:-1]:
        walk.descend(int(root), frozenset(), frozenset(), np.arange(len(background)))
    for (leaf, inside, outside), count in walk.reached.items():
        p, q = len(inside), len(outside)
        for column in inside:
            weight = Fraction(count * factorial(p - 1) * factorial(q), factorial(p + q))
            weights[leaf, column] = weights.get((leaf, column), Fraction(0)) + weight
        for column in outside:
            weight = Fraction(count * factorial(p) * factorial(q - 1), factorial(p + q))
            weights[leaf, column] = weights.get((leaf, column), Fraction(0)) - weight
        if not inside:
            leaf_rows[leaf] += (
                count  # every background row ends, unmixed, at exactly one leaf with nothing taken from x
            )
    return _add_up(forest, x, len(background), weights, leaf_rows)


def _add_up(
    forest: Forest,
    x: NDArray[np.float64],
    rows: int,
    weights: dict[tuple[int, int], Fraction],
    leaf_rows: Counter[int],
) -> Attribution:
    trees = Fraction(1, forest.n_trees) if forest.aggregation == "mean" and forest.n_trees else Fraction(1)
    outputs = range(forest.n_outputs)
    base = [Fraction(float(b)) for b in forest.base]
    own = forest.apply_encoded(x[None])[0]
    zero = Fraction(0)

    def total(leaves: Iterable[tuple[int, int]], k: int) -> Fraction:
        return sum((count * Fraction(float(forest.value[leaf, k])) for leaf, count in leaves), zero)

    exact = [(base[k] + total([(int(leaf), 1) for leaf in own], k)) * trees for k in outputs]
    expected = [(base[k] + total(leaf_rows.items(), k) / rows) * trees for k in outputs]
    contributions = [[Fraction(0)] * forest.n_outputs for _ in forest.schema.columns]
    for (leaf, column), weight in weights.items():
        for k in outputs:
            contributions[column][k] += weight * Fraction(float(forest.value[leaf, k]))
    scaled = tuple(tuple(amount * trees / rows for amount in line) for line in contributions)
    return Attribution(tuple(expected), tuple(exact), scaled)


class _Walk:
    """Sends all background rows down a tree together, noting how many reach each leaf with which columns in and out."""

    def __init__(self, forest: Forest, x: NDArray[np.float64], background: NDArray[np.float64]) -> None:
        self.forest = forest
        self.x, self.background = x[None], background
        self.x_scores = forest.feature_scores(self.x)[0]
        self.scores = forest.feature_scores(background)
        self.column_of = [feature.column for feature in forest.schema.features]
        self.reached: Counter[tuple[int, Columns, Columns]] = Counter()
        self._adds_of: dict[int, dict[int, tuple[int, NDArray[np.int64]]]] = {}

    def descend(self, node: int, inside: Columns, outside: Columns, rows: NDArray[np.int64]) -> None:
        if not len(rows):
            return
        feature = int(self.forest.feature[node])
        if feature == LEAF:
            self.reached[node, inside, outside] += len(rows)
        elif feature == OBLIQUE:
            self._oblique(node, inside, outside, rows)
        else:
            self._axis(node, feature, inside, outside, rows)

    def _axis(
        self, node: int, feature: int, inside: Columns, outside: Columns, rows: NDArray[np.int64]
    ) -> None:
        column = self.column_of[feature]
        own = bool(self._left(node, self.x[:, feature])[0])
        if column in inside:
            self.descend(self._child(node, own), inside, outside, rows)
            return
        left = self._left(node, self.background[rows, feature])
        if column in outside:
            self.descend(self._child(node, True), inside, outside, rows[left])
            self.descend(self._child(node, False), inside, outside, rows[~left])
            return
        self.descend(
            self._child(node, own), inside, outside, rows[left == own]
        )  # both rows go the same way: nothing is decided
        parting = rows[left != own]
        self.descend(self._child(node, own), inside | {column}, outside, parting)
        self.descend(self._child(node, not own), inside, outside | {column}, parting)

    def _oblique(
        self,
        node: int,
        inside: Columns,
        outside: Columns,
        rows: NDArray[np.int64],
        alike: Columns = frozenset(),
    ) -> None:
        """Decide the columns of the node one by one; where both rows add the same (`alike`), nothing is decided."""
        if not len(rows):
            return
        adds = self._adds(node)
        column = next((c for c in adds if c not in inside and c not in outside and c not in alike), None)
        if column is not None:
            own, others = adds[column]
            same = others[rows] == own
            self._oblique(node, inside, outside, rows[same], alike | {column})
            self._oblique(node, inside | {column}, outside, rows[~same], alike)
            self._oblique(node, inside, outside | {column}, rows[~same], alike)
            return
        total = np.zeros(len(rows), dtype=np.int64)
        for column, (own, others) in adds.items():
            total += others[rows] if column in outside else own
        left = total <= self.forest.threshold[node]
        self.descend(self._child(node, True), inside, outside, rows[left])
        self.descend(self._child(node, False), inside, outside, rows[~left])

    def _adds(self, node: int) -> dict[int, tuple[int, NDArray[np.int64]]]:
        """What each column adds to the sum of an oblique node: in the explained row, and in every background row."""
        if node not in self._adds_of:
            forest, found = self.forest, dict[int, tuple[int, NDArray[np.int64]]]()
            for term in range(int(forest.term_offset[node]), int(forest.term_offset[node + 1])):
                feature, weight = int(forest.term_feature[term]), int(forest.term_weight[term])
                own, others = found.get(
                    self.column_of[feature], (0, np.zeros(len(self.scores), dtype=np.int64))
                )
                own, others = (
                    own + weight * int(self.x_scores[feature]),
                    others + weight * self.scores[:, feature],
                )
                found[self.column_of[feature]] = (own, others)
            self._adds_of[node] = dict(sorted(found.items()))
        return self._adds_of[node]

    def _left(self, node: int, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            sides = np.where(
                np.isnan(values), self.forest.default_left[node], values <= self.forest.threshold[node]
            )
        return np.asarray(sides, dtype=np.bool_)

    def _child(self, node: int, left: bool) -> int:
        return int(self.forest.left[node] if left else self.forest.right[node])
