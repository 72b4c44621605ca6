"""Forest -> the flat tables that the compiled runtimes walk. Never imports torch, numba or a compiler.

Two equivalent forms of every tree are made:

*Steps*, for few rows and for large trees: nodes of 16 bytes whose two children are neighbours, so that a step down is
`node = child[node] + goes_right`. Leaves point at themselves, so that rows that arrive early may keep stepping.

*Tests*, for many rows and small trees: the inner nodes in preorder. A row is known by the number of the first leaf (from the left) below
the node where it stands; a test moves the rows that stand at `first` and go right to `split`, the first leaf of the right subtree. There
is no branch and no gather in that: it is three byte operations for 64 rows at a time. It works on small whole numbers because
`x <= t` exactly when fewer thresholds of the feature lie below x than below or at t: a value is replaced once by its rank.

A missing value needs no flag: features have up to two *slots*, one in which missing ranks lowest (it goes left everywhere) and one in
which it ranks highest. An oblique node becomes a test of a slot that holds whether its sum exceeds the limit.

A forest with linear nodes or affine leaves has steps only: one real sum costs as much as many comparisons, so that following one path is
cheaper than testing every node. Kernels walk such forests by functions of their own, and other forests do not pay for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.forest import LEAF, LINEAR, OBLIQUE, Forest

Ints = NDArray[np.int32]
Doubles = NDArray[np.float64]

STEP = np.dtype([("threshold", np.float64), ("slot", np.int32), ("child", np.int32)])
"""A node of the steps: 16 bytes, so that all of it is in one line of the cache."""
MAX_TEST_LEAVES = 256
"""Larger trees are walked step by step: testing all nodes of a tree costs more than following one path from about here."""


@dataclass(frozen=True)
class Tables:
    """The tables of one forest. U features are used, E trees, L leaves, K oblique or linear nodes, S steps, N tests.

    Attributes
    ----------
    used : int32 [U]; features that some node tests. Below, a feature is a position in this list.
    step : STEP [S]; a row goes to `child` if its slot is <= threshold, else to `child + 1`. Slots 0..U-1 hold the feature, U..2U-1 the
        feature with -inf for missing, 2U holds -inf; -1 - k stands for node k of those with terms. A leaf has slot 2U and itself as
        child, so rows stay there; its threshold is the number of the leaf.
    root : int32 [E]; the steps where trees begin.
    value : float64 [L, C]; node : int32 [L], the node number of the leaf in the forest. base : float64 [C].
    term_offset : int32 [K + 1]; term_feature, term_weight : int32 [terms]; limit : int32 [K].
    linear : int32 [K], 1 where the node is linear; linear_weight : float64 [terms], or [0] where none is.
    slope : float64 [L, C, U] of affine leaves, or [0, 0, 0].
    cut_offset, score_offset : int32 [U + 1]; cut : float64, padded by +inf to 2**k - 1 a feature; score : int32.
    rank_offset : int32 [U + 1]; rank_cut : float64, sorted distinct thresholds of the feature in the tests, padded likewise.
    low_slot, high_slot : int32 [U]; slot of the feature's rank with missing lowest and highest, -1 where no test uses it.
    high_rank : int32 [U]; the rank of missing in `high_slot`.
    test : int32 [N, 4]; (slot, rank, first, split): rows at leaf `first` whose slot exceeds `rank` move to leaf `split`.
    test_offset : int32 [E + 1]; oblique_offset : int32 [E + 1]; the oblique nodes of a tree that is tested get slots
        `n_slots`, `n_slots + 1`, ...
    leaf_offset : int32 [E + 1]. tested : int32 [E], 1 where the tree has tests, 0 where it is stepped.
    n_slots, n_scratch : slots of features, and the largest number of oblique nodes in a tested tree.
    wide : ranks need 16 bits, else 8. mean : the sum is divided by the number of trees. n_features : columns of the encoded matrix.
    """

    used: Ints
    step: NDArray[np.void]
    root: Ints
    value: Doubles
    node: Ints
    base: Doubles
    term_offset: Ints
    term_feature: Ints
    term_weight: Ints
    limit: Ints
    linear: Ints
    linear_weight: Doubles
    slope: Doubles
    cut_offset: Ints
    cut: Doubles
    score_offset: Ints
    score: Ints
    rank_offset: Ints
    rank_cut: Doubles
    low_slot: Ints
    high_slot: Ints
    high_rank: Ints
    test: Ints
    test_offset: Ints
    oblique_offset: Ints
    leaf_offset: Ints
    tested: Ints
    n_slots: int
    n_scratch: int
    wide: bool
    mean: bool
    n_features: int

    @property
    def n_used(self) -> int:
        """Number of used features."""
        return len(self.used)

    @property
    def n_oblique(self) -> int:
        """Number of oblique and linear nodes."""
        return len(self.limit)

    @property
    def n_linear(self) -> int:
        """Number of linear nodes."""
        return int(self.linear.sum())

    @property
    def is_weighted(self) -> bool:
        """Whether some node is linear or leaves are affine."""
        return self.n_linear > 0 or self.slope.size > 0

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.root)

    @property
    def n_outputs(self) -> int:
        """Values a leaf."""
        return len(self.base)

    @property
    def n_tested(self) -> int:
        """Number of trees that have tests."""
        return int(self.tested.sum())


def build_tables(forest: Forest) -> Tables:
    """Return the tables of a forest."""
    return _Builder(forest).tables()


class _Builder:
    def __init__(self, forest: Forest) -> None:
        self.f = forest
        self.tree = np.repeat(np.arange(forest.n_trees), np.diff(forest.tree_offset))
        self.is_leaf = forest.feature == LEAF
        self.oblique = np.flatnonzero((forest.feature == OBLIQUE) | (forest.feature == LINEAR))
        self.used = forest.used_features().astype(np.int32)
        self.position = np.zeros(max(forest.n_features, 1), dtype=np.int32)
        self.position[self.used] = np.arange(len(self.used))
        self._number_leaves()
        counts = np.bincount(self.tree[self.is_leaf], minlength=forest.n_trees)
        self.leaf_offset = _offsets(counts)
        plain = not (forest.has_linear or forest.has_slopes)
        self.tested = (counts <= MAX_TEST_LEAVES) & plain

    def _number_leaves(self) -> None:
        """Number the leaves of each tree from the left: `first[node]` is the first leaf below a node, `split` that of its right child."""
        f = self.f
        order = np.argsort(f.node_depth, kind="stable")
        bounds = np.searchsorted(f.node_depth[order], np.arange(f.depth() + 2))
        levels = [order[a:b] for a, b in pairwise(bounds)]
        inner = [level[~self.is_leaf[level]] for level in levels]
        below = self.is_leaf.astype(np.int64)
        for level in reversed(inner):
            below[level] = below[f.left[level]] + below[f.right[level]]
        self.first = np.zeros(f.n_nodes, dtype=np.int64)
        self.split = np.zeros(f.n_nodes, dtype=np.int64)
        for level in inner:
            self.first[f.left[level]] = self.first[level]
            self.split[level] = self.first[level] + below[f.left[level]]
            self.first[f.right[level]] = self.split[level]

    def tables(self) -> Tables:
        """Assemble everything."""
        tests = self._tests()  # first: it may find that no tree can be tested
        parts: dict[str, Any] = {
            **tests, **self._steps(), **self._leaves(), **self._oblique(), **self._scores()
        }  # fmt: skip
        types: dict[str, Any] = {"f": np.float64, "V": STEP}
        for name, array in parts.items():
            if isinstance(array, np.ndarray):  # a copy: to numba, read-only arrays would be another type
                parts[name] = np.array(array, dtype=types.get(array.dtype.kind, np.int32), order="C")
        return Tables(**parts, mean=self.f.aggregation == "mean", n_features=self.f.n_features)

    def _steps(self) -> dict[str, NDArray[np.generic]]:
        f, n_used = self.f, len(self.used)
        # Breadth first within a tree: the first levels, which all rows pass, are neighbours. Children come in pairs after the root.
        inner = np.flatnonzero(~self.is_leaf)
        inner = inner[np.lexsort((f.node_depth[inner], self.tree[inner]))]
        rank = np.arange(len(inner)) - np.searchsorted(self.tree[inner], self.tree[inner])
        place = np.zeros(f.n_nodes, dtype=np.int64)
        place[f.tree_offset[:-1]] = f.tree_offset[:-1]
        place[f.left[inner]] = f.tree_offset[self.tree[inner]] + 1 + 2 * rank
        place[f.right[inner]] = place[f.left[inner]] + 1
        slot = self.position[np.maximum(f.feature, 0)] + np.where(f.default_left, n_used, 0)
        slot[self.oblique] = -1 - np.arange(len(self.oblique))
        slot[self.is_leaf] = 2 * n_used
        step = np.empty(f.n_nodes, dtype=STEP)
        step["threshold"][place] = np.where(
            self.is_leaf, self.leaf_offset[self.tree] + self.first, f.threshold
        )
        step["slot"][place] = slot
        step["child"][place] = np.where(self.is_leaf, place, place[f.left])
        return {"used": self.used, "step": step, "root": f.tree_offset[:-1]}

    def _leaves(self) -> dict[str, NDArray[np.generic]]:
        leaves = np.flatnonzero(self.is_leaf)
        node = np.empty(len(leaves), dtype=np.int64)
        node[self.leaf_offset[self.tree[leaves]] + self.first[leaves]] = leaves
        return {
            "node": node, "value": self.f.value[node], "base": self.f.base, "leaf_offset": self.leaf_offset,
            "tested": self.tested.astype(np.int32),
            "slope": self.f.leaf_slope[node][:, :, self.used] if self.f.has_slopes else self.f.leaf_slope,
        }  # fmt: skip

    def _oblique(self) -> dict[str, NDArray[np.generic]]:
        f = self.f
        linear = f.feature[self.oblique] == LINEAR
        return {
            "linear": linear,
            "linear_weight": f.linear_weight,
            "term_offset": np.append(f.term_offset[self.oblique], len(f.term_feature)),
            "term_feature": self.position[f.term_feature],
            "term_weight": f.term_weight,
            "limit": np.where(linear, 0.0, f.threshold[self.oblique]).astype(np.int64),
        }

    def _scores(self) -> dict[str, NDArray[np.generic]]:
        f = self.f
        cuts, scores = [], []
        for number in self.used:
            a, b = f.cut_offset[number], f.cut_offset[number + 1]
            cuts.append(f.cut[a:b])
            scores.append(f.score[a + number : b + number + 1])
        cut_offset, cut = _padded(cuts)
        score_offset = _offsets(np.array([len(s) for s in scores], dtype=np.int64))
        score = np.concatenate([*scores, np.empty(0, dtype=np.int32)])
        return {"cut_offset": cut_offset, "cut": cut, "score_offset": score_offset, "score": score}

    def _tests(self) -> dict[str, object]:
        f, n_used = self.f, len(self.used)
        axis = np.flatnonzero((f.feature >= 0) & self.tested[self.tree])
        axis = axis[np.argsort(self.position[f.feature[axis]], kind="stable")]
        place = self.position[f.feature[axis]]
        groups = np.split(axis, np.searchsorted(place, np.arange(1, n_used))) if n_used else []
        thresholds = [np.unique(f.threshold[group]) for group in groups]
        if max(map(len, thresholds), default=0) >= 2**16:
            self.tested[:] = False
            return self._tests()
        low = np.bincount(place[f.default_left[axis]], minlength=n_used) > 0
        high = np.bincount(place[~f.default_left[axis]], minlength=n_used) > 0
        n_low, n_slots = int(low.sum()), int(low.sum() + high.sum())
        low_slot = np.where(low, np.cumsum(low) - 1, -1)
        high_slot = np.where(high, n_low + np.cumsum(high) - 1, -1)

        rank = np.zeros(f.n_nodes, dtype=np.int64)
        slot = np.zeros(f.n_nodes, dtype=np.int64)
        for group, sorted_thresholds in zip(groups, thresholds, strict=True):
            rank[group] = np.searchsorted(sorted_thresholds, f.threshold[group])
        slot[axis] = np.where(f.default_left[axis], low_slot[place], high_slot[place])

        oblique_count = np.bincount(self.tree[self.oblique], minlength=f.n_trees)
        oblique_offset = _offsets(oblique_count)
        slot[self.oblique] = n_slots + np.arange(len(self.oblique)) - oblique_offset[self.tree[self.oblique]]

        inner = np.flatnonzero(~self.is_leaf & self.tested[self.tree])
        inner = inner[np.lexsort((f.node_depth[inner], self.first[inner], self.tree[inner]))]
        test = np.stack([slot[inner], rank[inner], self.first[inner], self.split[inner]], axis=1)
        high_rank = np.array([len(t) for t in thresholds], dtype=np.int64)
        rank_offset, rank_cut = _padded(thresholds)
        return {
            "rank_offset": rank_offset, "rank_cut": rank_cut, "low_slot": low_slot, "high_slot": high_slot,
            "high_rank": high_rank, "test": test, "oblique_offset": oblique_offset, "n_slots": n_slots,
            "test_offset": _offsets(np.bincount(self.tree[inner], minlength=f.n_trees)),
            "n_scratch": int(oblique_count[self.tested].max(initial=0)),
            "wide": bool(high_rank.max(initial=0) > 255),
        }  # fmt: skip


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])


def _padded(groups: list[Doubles]) -> tuple[NDArray[np.int64], Doubles]:
    """Pad each sorted group with +inf to 2**k - 1 entries: a search then takes k steps without a branch, whatever the value."""
    sizes = [2 ** len(group).bit_length() - 1 for group in groups]
    padded = np.full(sum(sizes), np.inf)
    offset = _offsets(np.array(sizes, dtype=np.int64))
    for start, group in zip(offset, groups, strict=False):
        padded[start : start + len(group)] = group
    return offset, padded
