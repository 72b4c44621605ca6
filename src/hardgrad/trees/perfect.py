"""PerfectForest: the training-time form of a forest, perfect trees over standard scores, and its exact hardening. Never imports torch.

Trees are in level order (children of i are 2i + 1 and 2i + 2). A row goes RIGHT iff the weighted sum of at most four scores plus an offset
is positive. A dead node has no terms and a negative offset: every row goes left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.codes import SCORE_UNIT
from hardgrad.trees.forest import MAX_TERMS, MAX_WEIGHT

MAX_SUM = 2**23


@dataclass(frozen=True)
class PerfectForest:
    """Perfect trees of one depth.

    Parameters
    ----------
    feature : int32 [trees, nodes, 4], -1 where there is no term; a node is dead iff it has none.
    weight : float64 [trees, nodes, 4].
    offset : float64 [trees, nodes].
    leaf : float64 [trees, leaves, outputs].
    bias : float64 [outputs].
    """

    feature: NDArray[np.int32]
    weight: NDArray[np.float64]
    offset: NDArray[np.float64]
    leaf: NDArray[np.float64]
    bias: NDArray[np.float64]

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return int(self.feature.shape[0])

    @property
    def n_nodes(self) -> int:
        """Inner nodes of a tree, 2**depth - 1."""
        return int(self.feature.shape[1])

    @property
    def depth(self) -> int:
        """Depth of every tree."""
        return (self.n_nodes + 1).bit_length() - 1

    @property
    def alive(self) -> NDArray[np.bool_]:
        """bool [trees, nodes]: the nodes that test something."""
        return np.asarray((self.feature >= 0).any(axis=2))

    @property
    def n_leaves(self) -> int:
        """Leaves that rows can reach: one a tree and one more a live node below no dead left turn."""
        return self.n_trees + int(self.alive.sum())

    def leaf_index(self, scores: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return the leaf of each row in each tree, int32 [n, trees], leaves numbered from the left."""
        return _leaf_index(self.feature, self.weight, self.offset, scores)

    def raw(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return raw scores [n, outputs]."""
        return self.raw_of_leaves(self.leaf_index(scores))

    def raw_of_leaves(self, index: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return raw scores [n, outputs] for leaves [n, trees]: the bias, then tree by tree, as a `Forest` sums."""
        raw = np.repeat(self.bias[None, :], len(index), axis=0)
        for tree in range(self.n_trees):
            raw += self.leaf[tree][index[:, tree]]
        return raw

    def with_leaves(self, leaf: NDArray[np.float64], bias: NDArray[np.float64]) -> PerfectForest:
        """Return the same structure with other leaves."""
        return replace(self, leaf=leaf, bias=bias)

    def filled(self) -> PerfectForest:
        """Return the same forest with the value of a leaf above the last level in all leaves below it.

        Below such a leaf, a dead node, all nodes must be dead, as in what `perfect_from_forest` makes.
        """
        leaf = self.leaf.copy()
        for tree, node in np.argwhere(~self.alive).tolist():
            below = self.depth - (node + 1).bit_length() + 1
            first = ((node + 1) << below) - (1 << self.depth)
            leaf[tree, first : first + (1 << below)] = leaf[tree, first]
        return replace(self, leaf=leaf)

    def dense(self, n_features: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return weights [features, trees * nodes] and offsets [trees * nodes]."""
        W = np.zeros((self.n_trees * self.n_nodes, n_features))
        flat = self.feature.reshape(-1, MAX_TERMS)
        for k in range(MAX_TERMS):
            has = np.flatnonzero(flat[:, k] >= 0)
            W[has, flat[has, k]] = self.weight.reshape(-1, MAX_TERMS)[has, k]
        return W.T.copy(), self.offset.reshape(-1).copy()

    @classmethod
    def from_dense(
        cls,
        W: NDArray[np.float64],
        b: NDArray[np.float64],
        leaf: NDArray[np.float64],
        bias: NDArray[np.float64],
    ) -> PerfectForest:
        """Invert `dense`: keep the four largest weights of each node."""
        n_trees, n_nodes = leaf.shape[0], leaf.shape[1] - 1
        largest = np.argsort(-np.abs(W), axis=0, kind="stable")[:MAX_TERMS].T
        weight = np.zeros((len(b), MAX_TERMS))
        feature = np.full((len(b), MAX_TERMS), -1, dtype=np.int32)
        chosen = np.take_along_axis(W.T, largest, axis=1)
        weight[:, : chosen.shape[1]] = chosen
        feature[:, : chosen.shape[1]] = np.where(chosen != 0.0, largest, -1)
        dead = (feature < 0).all(axis=1)
        shape = (n_trees, n_nodes, MAX_TERMS)
        offset = np.where(dead, -1.0, b).reshape(n_trees, n_nodes)
        return cls(feature.reshape(shape), weight.reshape(shape), offset, leaf.copy(), bias.copy())

    @classmethod
    def from_tests(
        cls,
        W: NDArray[np.float64],
        b: NDArray[np.float64],
        leaf: NDArray[np.float64],
        bias: NDArray[np.float64],
        oblivious: bool,
    ) -> PerfectForest:
        """Return perfect trees of dense tests W [trees * tests, features], b [trees * tests]: one a node, or one a level if oblivious."""
        if oblivious:
            level = [(i + 1).bit_length() - 1 for i in range(leaf.shape[1] - 1)]
            W = W.reshape(len(leaf), -1, W.shape[1])[:, level].reshape(-1, W.shape[1])
            b = b.reshape(len(leaf), -1)[:, level].reshape(-1)
        return cls.from_dense(W.T, b, leaf, bias)

    def merged(self) -> PerfectForest:
        """Return the same function without tests that decide nothing: a node whose leaves below are all equal dies."""
        feature, weight, offset = self.feature.copy(), self.weight.copy(), self.offset.copy()
        value, same = self.leaf, np.ones(self.leaf.shape[:2], dtype=np.bool_)
        for d in reversed(range(self.depth)):
            level = slice(2**d - 1, 2 ** (d + 1) - 1)
            left, right = value[:, 0::2], value[:, 1::2]
            alive = (feature[:, level] >= 0).any(axis=2)
            needless = alive & same[:, 0::2] & same[:, 1::2] & (left == right).all(axis=2)
            feature[:, level][needless], weight[:, level][needless] = -1, 0.0
            offset[:, level][needless] = -1.0
            value, same = left, same[:, 0::2] & (needless | ~alive)
        return replace(self, feature=feature, weight=weight, offset=offset)

    def quantised(self) -> PerfectForest:
        """Round weights to whole numbers within +-1023 and offsets midway between sums that can occur.

        From here on every comparison is between integers: what this computes in floating point is what the artifact computes exactly.
        """
        largest = np.abs(self.weight).max(axis=2, keepdims=True)
        scale = MAX_WEIGHT / np.where(largest > 0, largest, 1.0)
        weight = np.rint(self.weight * scale)
        feature = np.where((weight != 0) & (self.feature >= 0), self.feature, -1).astype(np.int32)
        weight = np.where(feature >= 0, weight, 0.0)
        limit = np.floor(np.clip(-self.offset * SCORE_UNIT * scale[:, :, 0], -MAX_SUM, MAX_SUM))
        offset = np.where((feature >= 0).any(axis=2), -(limit + 0.5) / SCORE_UNIT, -1.0)
        return replace(self, feature=feature, weight=weight, offset=offset)


@numba.njit(cache=True, nogil=True)
def _leaf_index(
    feature: NDArray[np.int32],
    weight: NDArray[np.float64],
    offset: NDArray[np.float64],
    scores: NDArray[np.float32],
) -> NDArray[np.int32]:
    n = scores.shape[0]
    n_trees, n_nodes, n_terms = feature.shape
    result = np.empty((n, n_trees), dtype=np.int32)
    for r in range(n):
        for t in range(n_trees):
            i = 0
            while i < n_nodes:
                z = offset[t, i]
                for k in range(n_terms):
                    if feature[t, i, k] >= 0:
                        z += weight[t, i, k] * np.float64(scores[r, feature[t, i, k]])
                i = 2 * i + 1 + (1 if z > 0.0 else 0)
            result[r, t] = i - n_nodes
    return result
