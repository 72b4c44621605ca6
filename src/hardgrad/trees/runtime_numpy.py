"""The NumPy runtime: what `runtime_kernel.c` does for 64 rows, NumPy does for a block of thousands. Needs neither compiler nor numba.

What the tables hold is in `runtime_tables`, the handle that users hold in `runtime`. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.runtime_tables import Doubles, Ints, Tables

BLOCK = 8192
"""Rows at a time: enough that a call of NumPy costs little, few enough that everything stays in the cache."""
FEW = 1000
"""Up to about this many rows, following all paths at once is faster than testing every node."""


class NumpyKernel:
    """Runs one forest in NumPy. Calls share nothing that is written: threads may use one kernel together."""

    engine = "numpy"
    few_rows = FEW

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        # Sums of weights and infinite values may be NaN; a plain forest has no such sums.
        self._quiet: dict[str, Any] = {"invalid": "ignore", "over": "ignore"} if tables.is_weighted else {}
        self._cells = np.uint16 if tables.wide else np.uint8
        cell = np.stack([tables.test[:, 1], tables.test[:, 2], tables.test[:, 2] ^ tables.test[:, 3]], axis=1)
        self._cell = cell.astype(self._cells)

    def few(self, X: Doubles) -> Doubles:
        """Raw scores of at most `few_rows` rows."""
        t = self._tables
        summands = np.concatenate(
            [np.repeat(t.base[None, None], len(X), axis=0), self._outputs(self._step_trees(X), X)], axis=1
        )
        with np.errstate(**self._quiet):  # in tree order, which `sum` does not promise
            raw: Doubles = np.add.accumulate(summands, axis=1)[:, -1]
        return raw / t.n_trees if t.mean and t.n_trees else raw

    def raw(self, X: Doubles, out: Doubles) -> None:
        """Raw scores of all rows of X [n, features] into out [n, outputs]."""
        t = self._tables
        for first in range(0, len(X), BLOCK):
            block, scores = X[first : first + BLOCK], out[first : first + BLOCK]
            scores[:] = t.base
            for _, leaf in self._leaves(block):
                with np.errstate(**self._quiet):
                    scores += self._outputs(leaf, block)
            if t.mean and t.n_trees:
                scores /= t.n_trees

    def leaves(self, X: Doubles, out: Ints) -> None:
        """Leaves of all rows of X into out int32 [n, trees]."""
        if len(X) <= FEW:
            out[:] = self._tables.node[self._step_trees(X)]
            return
        for first in range(0, len(X), BLOCK):
            for e, leaf in self._leaves(X[first : first + BLOCK]):
                out[first : first + BLOCK, e] = self._tables.node[leaf]

    def _outputs(self, leaf: NDArray[np.int64], X: Doubles) -> Doubles:
        """What leaves [n, ..] give to the rows of X: [n, .., outputs]."""
        t = self._tables
        total: Doubles = t.value[leaf]
        if not t.slope.size:
            return total
        for u, feature in enumerate(t.used):
            steep = t.slope[leaf, :, u]
            x = X[:, feature].reshape(-1, *[1] * (steep.ndim - 1))
            with np.errstate(**self._quiet):
                total = np.where(steep != 0, total + steep * x, total)
        return total

    def _leaves(self, X: Doubles) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield each tree and the leaf number of every row in it, in tree order."""
        t = self._tables
        slots = self._slots(X)
        scores = self._scores(X) if t.n_oblique > t.n_linear else np.empty((0, 0), dtype=np.int32)
        rows = self._laid_out(X) if t.n_tested < t.n_trees else np.empty(0)
        for e in range(t.n_trees):
            if t.tested[e]:
                yield e, self._test_tree(e, slots, scores) + int(t.leaf_offset[e])
            else:
                yield (
                    e,
                    self._walk(np.full(len(X), t.root[e], dtype=np.int64), np.arange(len(X)), rows, scores),
                )

    def _slots(self, X: Doubles) -> NDArray[Any]:
        t = self._tables
        slots = np.empty((t.n_slots + t.n_scratch, len(X)), dtype=self._cells)
        for u, feature in enumerate(t.used):
            low, high = t.low_slot[u], t.high_slot[u]
            if low < 0 and high < 0:
                continue
            x = np.ascontiguousarray(X[:, feature])
            missing = np.isnan(x)
            start = t.rank_offset[u]
            rank = np.searchsorted(t.rank_cut[start : start + t.high_rank[u]], x)
            if low >= 0:
                slots[low] = np.where(missing, 0, rank)
            if high >= 0:
                slots[high] = np.where(missing, t.high_rank[u], rank)
        return slots

    def _scores(self, X: Doubles) -> Ints:
        t = self._tables
        scores = np.empty((t.n_used, len(X)), dtype=np.int32)
        for u, feature in enumerate(t.used):
            table = t.score[t.score_offset[u] : t.score_offset[u + 1]]
            start = t.cut_offset[u]
            x = X[:, feature]
            scores[u] = np.where(
                np.isnan(x), 0, table[np.searchsorted(t.cut[start : start + len(table) - 1], x)]
            )
        return scores

    def _oblique_right(self, k: int, scores: Ints) -> NDArray[np.bool_]:
        t = self._tables
        a, b = t.term_offset[k], t.term_offset[k + 1]
        return np.asarray(t.term_weight[a:b] @ scores[t.term_feature[a:b]] > t.limit[k])

    def _test_tree(self, e: int, slots: NDArray[Any], scores: Ints) -> NDArray[np.int64]:
        """The leaf, counted from the left, where each row stands after all tests of a tree."""
        t = self._tables
        for k in range(t.oblique_offset[e], t.oblique_offset[e + 1]):
            slots[t.n_slots + k - t.oblique_offset[e]] = self._oblique_right(k, scores)
        stand = np.zeros(slots.shape[1], dtype=self._cells)
        right, here = np.empty(len(stand), dtype=np.bool_), np.empty(len(stand), dtype=np.bool_)
        jumps = np.empty_like(stand)
        for i in range(t.test_offset[e], t.test_offset[e + 1]):
            rank, first, jump = self._cell[i]
            np.greater(slots[t.test[i, 0]], rank, out=right)
            np.equal(stand, first, out=here)
            np.logical_and(right, here, out=right)
            np.multiply(right, jump, out=jumps)
            np.bitwise_xor(stand, jumps, out=stand)
        return stand.astype(np.int64)

    def _laid_out(self, X: Doubles) -> Doubles:
        """Rows for steps, flat: the used features, the same with -inf for missing, -inf."""
        x = X[:, self._tables.used]
        lowest = np.full((len(X), 1), -np.inf)
        return np.concatenate([x, np.where(np.isnan(x), -np.inf, x), lowest], axis=1).reshape(-1)

    def _step_trees(self, X: Doubles) -> NDArray[np.int64]:
        """The leaf number of each row in each tree, int64 [n, trees], by steps alone: all rows and trees at once."""
        t = self._tables
        scores = self._scores(X) if t.n_oblique > t.n_linear else np.empty((0, 0), dtype=np.int32)
        at = np.tile(t.root.astype(np.int64), len(X))
        lane = np.repeat(np.arange(len(X)), t.n_trees)
        return self._walk(at, lane, self._laid_out(X), scores).reshape(len(X), t.n_trees)

    def _walk(
        self, at: NDArray[np.int64], row: NDArray[np.int64], rows: Doubles, scores: Ints
    ) -> NDArray[np.int64]:
        """Leaf numbers of walks that begin at `at`, each with its row: all that have not arrived step down together."""
        t = self._tables
        threshold, slots, child = t.step["threshold"], t.step["slot"], t.step["child"]
        width = 2 * t.n_used + 1
        moving = np.arange(len(at))
        while len(moving):
            here, mine = at[moving], row[moving]
            slot = slots[here]
            right = ~(rows[mine * width + np.maximum(slot, 0)] <= threshold[here])
            if t.n_oblique:
                self._sum(right, slot, threshold[here], mine, rows, scores)
            below = child[here] + right
            moved = np.flatnonzero(below != here)
            moving = moving[moved]
            at[moving] = below[moved]
        return threshold[at].astype(np.int64)

    def _sum(
        self,
        right: NDArray[np.bool_],
        slot: Ints,
        threshold: Doubles,
        row: NDArray[np.int64],
        rows: Doubles,
        scores: Ints,
    ) -> None:
        """Fill in the sides of walks that stand at oblique or linear nodes."""
        t = self._tables
        summed = np.flatnonzero(slot < 0)
        linear = t.linear[-1 - slot[summed]] == 1
        for chosen, real in ((summed[~linear], False), (summed[linear], True)):
            if len(chosen):
                total = self._sums(-1 - slot[chosen], row[chosen], rows, scores, real)
                right[chosen] = ~(total <= threshold[chosen])

    def _sums(self, k: Ints, row: NDArray[np.int64], rows: Doubles, scores: Ints, real: bool) -> NDArray[Any]:
        """Sums of the nodes k with terms, each for its row: of weights times values (real), or of integer weights times scores."""
        t = self._tables
        width = 2 * t.n_used + 1
        total = np.zeros(len(k), dtype=np.float64 if real else np.int64)
        count = t.term_offset[k + 1] - t.term_offset[k]
        for j in range(int(count.max(initial=0))):
            has = np.flatnonzero(count > j)
            term = t.term_offset[k[has]] + j
            if real:
                with np.errstate(**self._quiet):
                    total[has] += t.linear_weight[term] * rows[row[has] * width + t.term_feature[term]]
            else:
                total[has] += t.term_weight[term] * scores[t.term_feature[term], row[has]]
        return total
