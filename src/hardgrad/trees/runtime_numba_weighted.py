"""The numba runtime of forests with linear nodes or affine leaves: runtime_weighted.h, restated.

Apart from `runtime_numba`, so that other forests neither compile nor run a line of it. Every tree is walked row by row: a real sum costs
as much as many comparisons, so that only the nodes of the path are worth computing. Never imports torch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hardgrad.core.kernels import kernel
from hardgrad.trees.runtime_numba import COPIED_ROWS, NumbaRows, _lay_out, _oblique_right, _scores
from hardgrad.trees.runtime_tables import Doubles, Ints, Tables


class Weights(NamedTuple):
    """The part of `Tables` that only such forests have."""

    linear: Ints
    linear_weight: Doubles
    slope: Doubles


class NumbaWeightedKernel(NumbaRows):
    """Runs one forest in numba. Calls share nothing that is written: threads may use one kernel together."""

    few_rows = 0

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self._weights = Weights(tables.linear, tables.linear_weight, tables.slope)
        self.raw(np.zeros((1, tables.n_features)), np.empty((1, tables.n_outputs)))  # compiles

    def few(self, X: Doubles) -> Doubles:
        """Raw scores of no row at all: whatever has rows takes `raw`."""
        return np.empty((len(X), self._tables.n_outputs))

    def _run(self, X: Doubles, out: Doubles, nodes: Ints) -> None:
        if X.flags.writeable:
            _rows(self._steps, self._weights, X, out, nodes)
            return
        for a in range(0, len(X), COPIED_ROWS):  # to numba a read-only array is another type
            b = a + COPIED_ROWS
            _rows(self._steps, self._weights, X[a:b].copy(), out[a:b], nodes[a:b])


@kernel
def _linear_right(term_offset, term_feature, linear_weight, k, row, threshold):  # type: ignore[no-untyped-def]
    first = term_offset[k]
    total = linear_weight[first] * row[term_feature[first]]
    for t in range(first + 1, term_offset[k + 1]):
        total += linear_weight[t] * row[term_feature[t]]
    return 0 if total <= threshold else 1


@kernel
def _leaf_of(steps, weights, at, row, score):  # type: ignore[no-untyped-def]
    """The number of the leaf that a laid out row, whose features have these scores, reaches from a root."""
    step, term_offset, term_feature = steps.step, steps.term_offset, steps.term_feature
    while True:
        here = step[at]
        k = -1 - here.slot
        if here.slot >= 0:
            right = 0 if row[here.slot] <= here.threshold else 1
        elif weights.linear[k]:
            right = _linear_right(term_offset, term_feature, weights.linear_weight, k, row, here.threshold)
        else:
            right = _oblique_right(term_offset, term_feature, steps.term_weight, steps.limit, k, score)
        if here.child + right == at:
            return np.int32(here.threshold)
        at = here.child + right


@kernel
def _add_leaf(steps, slope, leaf, row, out):  # type: ignore[no-untyped-def]
    for c in range(len(out)):
        total = steps.value[leaf, c]
        if slope.size:
            for u in range(len(steps.used)):
                if slope[leaf, c, u] != 0.0:
                    total += slope[leaf, c, u] * row[u]
        out[c] += total


@kernel
def _rows(steps, weights, X, out, leaves):  # type: ignore[no-untyped-def]
    """Raw scores of all rows into out, leaf numbers into leaves; either may have no rows, and is left out then."""
    n_used, n_trees = len(steps.used), len(steps.root)
    row, score = np.empty(2 * n_used + 1), np.empty(n_used, np.int32)
    scored = len(weights.linear) > weights.linear.sum()
    for r in range(len(X)):
        _lay_out(steps.used, X[r], row)
        if scored:
            for u in range(n_used):
                _scores(
                    steps.cut_offset,
                    steps.cut,
                    steps.score_offset,
                    steps.score,
                    u,
                    row[u : u + 1],
                    score[u : u + 1],
                )
        for c in range(out.shape[1] if len(out) else 0):
            out[r, c] = steps.base[c]
        for e in range(n_trees):
            leaf = _leaf_of(steps, weights, steps.root[e], row, score)
            if len(out):
                _add_leaf(steps, weights.slope, leaf, row, out[r])
            if len(leaves):
                leaves[r, e] = leaf
        if steps.mean and n_trees and len(out):
            for c in range(out.shape[1]):
                out[r, c] /= n_trees
