"""What a node of a `Forest` asks, how rows go down, what a leaf gives: the arithmetic of the reference semantics. Never imports torch.

Real sums have an order and are never fused: `total = w0 * x0`, then `total = total + w1 * x1` and so on, every step rounded to a double.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError, ParameterError, UnsupportedError

if TYPE_CHECKING:
    from hardgrad.trees.forest import Forest

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 1024
"""Rows that go down all trees at once."""


def find_leaves(forest: Forest, X: Doubles) -> NDArray[np.int32]:
    """Return the leaves that encoded rows reach, int32 [n, trees] (see `Forest.apply`)."""
    require_present(forest, X)
    scores = feature_scores(forest, X)
    leaves = np.empty((len(X), forest.n_trees), dtype=np.int32)
    for start in range(0, len(X), BLOCK):
        block = leaves[start : start + BLOCK]
        node = np.tile(forest.tree_offset[:-1], len(block)).astype(np.int64)
        row = np.repeat(np.arange(start, start + len(block)), forest.n_trees)
        active = np.flatnonzero(forest.feature[node] != -1)
        while len(active):
            at = node[active]
            left = goes_left(forest, X, scores, row[active], at)
            node[active] = np.where(left, forest.left[at], forest.right[at])
            active = active[forest.feature[node[active]] != -1]
        block[:] = node.reshape(block.shape)
    return leaves


def find_paths(forest: Forest, X: Doubles) -> list[list[int]]:
    """Return the nodes that the only row of X passes in each tree (see `Forest.decision_path`)."""
    require_present(forest, X)
    scores = feature_scores(forest, X)
    paths = []
    for root in forest.tree_offset[:-1].tolist():
        path = [int(root)]
        while forest.feature[path[-1]] != -1:
            left = bool(goes_left(forest, X, scores, np.array([0]), np.array(path[-1:]))[0])
            path.append(int(forest.left[path[-1]] if left else forest.right[path[-1]]))
        paths.append(path)
    return paths


def goes_left(
    forest: Forest, X: Doubles, scores: NDArray[np.int64], rows: Ints, nodes: Ints
) -> NDArray[np.bool_]:
    """Tell which way rows go at inner nodes, bool [len(nodes)].

    Parameters
    ----------
    forest : the forest.
    X, scores : encoded rows and their integer scores (see `feature_scores`), [n, features].
    rows, nodes : numbers of the rows and of the node where each of them stands.
    """
    feature = forest.feature[nodes]
    x = X[rows, np.maximum(feature, 0)]
    with np.errstate(invalid="ignore"):
        left = np.where(np.isnan(x), forest.default_left[nodes], x <= forest.threshold[nodes])
    oblique = np.flatnonzero(feature == -2)
    if len(oblique):
        total = _integer_totals(forest, scores, rows[oblique], nodes[oblique])
        left[oblique] = total <= forest.threshold[nodes[oblique]]
    linear = np.flatnonzero(feature == -3)
    if len(linear):
        sums = linear_totals(forest, X, rows[linear], nodes[linear])
        left[linear] = sums <= forest.threshold[nodes[linear]]
    return left


def _integer_totals(forest: Forest, scores: NDArray[np.int64], rows: Ints, nodes: Ints) -> Ints:
    first = forest.term_offset[nodes]
    count = forest.term_offset[nodes + 1] - first
    total = np.zeros(len(nodes), dtype=np.int64)
    for k in range(int(count.max())):
        has = np.flatnonzero(count > k)
        term = first[has] + k
        total[has] += forest.term_weight[term] * scores[rows[has], forest.term_feature[term]]
    return total


def linear_totals(forest: Forest, X: Doubles, rows: Ints, nodes: Ints) -> Doubles:
    """Return the sums of linear nodes, each for its row, in the order of the terms."""
    first = forest.term_offset[nodes]
    count = forest.term_offset[nodes + 1] - first
    with np.errstate(invalid="ignore", over="ignore"):
        total = forest.linear_weight[first] * X[rows, forest.term_feature[first]]
        for k in range(1, int(count.max())):
            has = np.flatnonzero(count > k)
            term = first[has] + k
            total[has] += forest.linear_weight[term] * X[rows[has], forest.term_feature[term]]
    return np.asarray(total)


def feature_scores(forest: Forest, X: Doubles) -> NDArray[np.int64]:
    """Return the integer score of every feature, int64 [n, features]; 0 where missing or never used by an oblique node."""
    scores = np.zeros(X.shape, dtype=np.int64)
    for f in forest.scored_features:
        cuts = forest.cut[forest.cut_offset[f] : forest.cut_offset[f + 1]]
        table = forest.score[forest.cut_offset[f] + f : forest.cut_offset[f + 1] + f + 1]
        scores[:, f] = np.where(np.isnan(X[:, f]), 0, table[np.searchsorted(cuts, X[:, f], side="left")])
    return scores


def leaf_outputs(forest: Forest, leaves: NDArray[np.integer], X: Doubles | None) -> Doubles:
    """Return what leaves [n] give to rows X [n, features]: [n, outputs], in the order of the features."""
    total: Doubles = forest.value[leaves]
    if not forest.has_slopes:
        return total
    if X is None:
        raise ParameterError(
            "the leaves of this forest are affine: pass the encoded rows, sum_leaves(leaves, X)."
        )
    slope = forest.leaf_slope[leaves]
    for f in forest.weighted_features:
        steep = slope[:, :, f]
        total = np.where(steep != 0, total + steep * X[:, f, None], total)
    return total


def require_present(forest: Forest, X: Doubles) -> None:
    """Raise `DataError` where a value is missing that a linear node or a slope weighs."""
    weighted = forest.weighted_features
    if not len(weighted):
        return
    found = forest.schema.first_missing(X, weighted)
    if found is not None:
        raise DataError(
            f"column {found[0]!r} is missing in row {found[1]}, and this forest multiplies it by a weight: a sum has no side for a missing "
            "value. Fill the column in, or leave the row out."
        )


def require_plain(forest: Forest, what: str, instead: str) -> None:
    """Raise `UnsupportedError` where a forest has linear nodes or affine leaves.

    Parameters
    ----------
    forest : the forest.
    what : what is not possible then, in the singular.
    instead : what to use, a sentence.
    """
    if not forest.is_plain:
        have = "linear nodes" if forest.has_linear else "affine leaves"
        raise UnsupportedError(
            f"{what} needs nodes that compare a feature or an integer sum, and constant leaves; this forest has {have}. {instead}"
        )
