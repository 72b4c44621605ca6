"""TreePopulation: many small trees as arrays, routed, cut and grafted all at once. Never imports torch.

Trees are in level order: the children of node i are 2i + 1 and 2i + 2. What the trees are worth is `tree_fitness`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Self

import numba
import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import TreeTextError, suggestion
from hardgrad.trees.tree_text import TreeText, Value

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
NO_TEST = -1


@dataclass(frozen=True)
class TreePopulation:
    """Trees of one depth at most.

    Parameters
    ----------
    feature : int32 [trees, 2**depth - 1]; -1 where nothing is tested: at a leaf and below it.
    threshold : float64, the same shape; a row goes left iff its feature is <= threshold.
    missing_left : bool, the same shape; the side of a missing value.

    Examples
    --------
    >>> tree = TreeText.parse('{"a": {"<= 1": {"value": 0}, "> 1": {"b": {"<= 2": {"value": 1}, "> 2": {"value": 2}}}}}')
    >>> trees = TreePopulation.from_texts([tree], {"a": 0, "b": 1}, depth=2)
    >>> trees.leaf_index(np.array([[1.0, 0.0], [3.0, 2.0], [3.0, 9.0]])).tolist()
    [[0, 2, 3]]
    """

    feature: NDArray[np.int32]
    threshold: Floats
    missing_left: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.feature)

    @property
    def n_nodes(self) -> int:
        """Places for tests in a tree, 2**depth - 1."""
        return int(self.feature.shape[1])

    @property
    def depth(self) -> int:
        """Number of tests on the longest path that there is room for."""
        return (self.n_nodes + 1).bit_length() - 1

    @property
    def tests(self) -> NDArray[np.bool_]:
        """bool [trees, nodes]: the nodes that test something."""
        return np.asarray(self.feature != NO_TEST)

    @property
    def places(self) -> NDArray[np.bool_]:
        """bool [trees, nodes]: the tests, and the leaves that a test may still take the place of."""
        parents = np.concatenate([[0], (np.arange(1, self.n_nodes) - 1) // 2])
        found = self.tests[:, parents] | self.tests
        found[:, 0] = True
        return found

    @classmethod
    def leaves(cls, count: int, depth: int) -> Self:
        """Return so many trees that test nothing."""
        shape = (count, 2**depth - 1)
        return cls(np.full(shape, NO_TEST, dtype=np.int32), np.zeros(shape), np.zeros(shape, dtype=np.bool_))

    def take(self, which: Sequence[int] | NDArray[np.generic]) -> Self:
        """Return the trees of these numbers, or of a mask."""
        chosen = np.asarray(which, dtype=None if len(which) else np.int64)
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def and_(self, *others: Self) -> Self:
        """Return these trees and the others behind them."""
        return type(self)(
            *(np.concatenate([getattr(part, f.name) for part in (self, *others)]) for f in fields(self))
        )

    def with_test(
        self, at: Integers, feature: Integers, threshold: Floats, missing_left: NDArray[np.bool_]
    ) -> Self:
        """Return the trees with another test at one node each; what is below stays."""
        row = np.arange(len(self))
        new = type(self)(self.feature.copy(), self.threshold.copy(), self.missing_left.copy())
        new.feature[row, at], new.threshold[row, at], new.missing_left[row, at] = (
            feature,
            threshold,
            missing_left,
        )
        return new

    def grafted(self, at: Integers, donor: Self, source: Integers) -> Self:
        """Return the trees with the subtree at node `at` replaced by that of the donor's same tree at `source`.

        Parameters
        ----------
        at, source : int64 [trees]; a node number beyond the last stands for a leaf.

        What would lie deeper than there is room for is cut off.
        """
        table, row = _subtrees(self.depth), np.arange(len(self))
        nothing = np.full((1, self.n_nodes), -1)
        table = np.concatenate([table, nothing])
        last = len(table) - 1
        to, of = table[np.minimum(at, last)], table[np.minimum(source, last)]
        new = type(self)(self.feature.copy(), self.threshold.copy(), self.missing_left.copy())
        for k in range(self.n_nodes):
            put, get = to[:, k], of[:, k]
            here, filled = put >= 0, (put >= 0) & (get >= 0)
            new.feature[row[here], put[here]] = NO_TEST
            for name in ("feature", "threshold", "missing_left"):
                getattr(new, name)[row[filled], put[filled]] = getattr(donor, name)[row[filled], get[filled]]
        return new

    def leaf_index(self, X: Floats) -> NDArray[np.int32]:
        """Return the leaf of every row of X [n, features] in every tree, int32 [trees, n], numbered from the left among 2**depth."""
        return np.asarray(_leaf_index(self.feature, self.threshold, self.missing_left, X))

    def without_idle_tests(self, X: Floats) -> Self:
        """Return the trees without the tests that send all rows of X one way: their one child takes their place."""
        trees, open_ones = self, np.arange(len(self))
        while len(open_ones):
            part = trees.take(open_ones)
            count = node_totals(leaf_totals(part.leaf_index(X), np.ones((len(X), 1)), part.n_nodes + 1))[
                ..., 0
            ]
            idle = np.asarray(part.tests) & ((count[:, 1::2] <= 0) | (count[:, 2::2] <= 0))
            some = np.asarray(idle.any(axis=1))
            open_ones, part, at = open_ones[some], part.take(some), idle[some].argmax(axis=1)
            child = np.where(count[some, 2 * at + 1] > 0, 2 * at + 1, 2 * at + 2)
            trees = trees.replaced(open_ones, part.grafted(at, part, child))
        return trees

    def replaced(self, which: Integers, others: Self) -> Self:
        """Return the trees with the others in the place of those of these numbers."""
        new = type(self)(*(getattr(self, field.name).copy() for field in fields(self)))
        for field in fields(self):
            getattr(new, field.name)[which] = getattr(others, field.name)
        return new

    # --- text ----------------------------------------------------------------------------------------------------------------
    @classmethod
    def from_texts(cls, texts: Sequence[TreeText], positions: Mapping[str, int], depth: int) -> Self:
        """Return trees that are given as text; the values of their leaves are left behind.

        Parameters
        ----------
        texts : the trees.
        positions : the number of every attribute.
        depth : deepest that a tree may be.

        Raises
        ------
        TreeTextError : an unknown attribute ("attribute"), or a tree that is too deep ("depth").
        """
        new = cls.leaves(len(texts), depth)
        for number, text in enumerate(texts):
            if text.depth > depth:
                raise TreeTextError(f"the tree is {text.depth} deep; expected at most {depth}.", "depth")
            stack = [(text, 0)]
            while stack:
                node, i = stack.pop()
                if node.left is None or node.right is None:
                    continue
                name = str(node.feature)
                if name not in positions:
                    raise TreeTextError(
                        f"a node tests {name!r}; known are {', '.join(positions)}.{suggestion(name, list(positions))}",
                        "attribute",
                    )
                new.feature[number, i], new.threshold[number, i] = positions[name], node.threshold
                new.missing_left[number, i] = node.missing_left
                stack += [(node.left, 2 * i + 1), (node.right, 2 * i + 2)]
        return new

    def to_text(self, tree: int, names: Sequence[str], values: Sequence[Value] | None = None) -> TreeText:
        """Return one tree as text.

        Parameters
        ----------
        names : of the features.
        values : of the 2**depth leaves, of which one that lies higher has the leftmost below it; 0 by default.
        """

        def build(i: int) -> TreeText:
            if i < self.n_nodes and self.feature[tree, i] != NO_TEST:
                return TreeText(
                    feature=names[self.feature[tree, i]], threshold=float(self.threshold[tree, i]),
                    left=build(2 * i + 1), right=build(2 * i + 2), missing_left=bool(self.missing_left[tree, i]),
                )  # fmt: skip
            while i < self.n_nodes:
                i = 2 * i + 1
            return TreeText(value=0.0 if values is None else values[i - self.n_nodes])

        return build(0)


@lru_cache(maxsize=16)
def _subtrees(depth: int) -> Integers:
    """The node numbers of the subtree at every node, in level order, [nodes, nodes]; -1 beyond the last level."""
    nodes = 2**depth - 1
    k = np.arange(nodes)
    level = np.array([int(number + 1).bit_length() - 1 for number in k.tolist()], dtype=np.int64)
    table = (k[:, None] + 1) * 2**level - 1 + (k - (2**level - 1))
    return np.where(table < nodes, table, -1)


def leaf_totals(index: NDArray[np.int32], columns: Floats, n_leaves: int) -> Floats:
    """Add up columns [n, C] over the rows of each leaf, [trees, leaves, C], for leaves `index` [trees, n]."""
    result = np.zeros((len(index), n_leaves, columns.shape[1]))
    _add_up(index, columns, result)
    return result


def node_totals(totals: Floats) -> Floats:
    """Add up the totals of leaves [trees, leaves, C] to all nodes, [trees, 2 * leaves - 1, C], root first, leaves last."""
    levels = [totals]
    while levels[0].shape[1] > 1:
        levels.insert(0, levels[0][:, 0::2] + levels[0][:, 1::2])
    return np.concatenate(levels, axis=1)


@numba.njit(cache=True, nogil=True)
def _leaf_index(
    feature: NDArray[np.int32], threshold: Floats, missing_left: NDArray[np.bool_], X: Floats
) -> NDArray[np.int32]:
    n_trees, n_nodes = feature.shape
    result = np.empty((n_trees, len(X)), dtype=np.int32)
    for t in range(n_trees):
        for r in range(len(X)):
            i = 0
            while i < n_nodes:
                right = False
                f = feature[t, i]
                if f >= 0:
                    x = X[r, f]
                    right = not missing_left[t, i] if np.isnan(x) else x > threshold[t, i]
                i = 2 * i + (2 if right else 1)
            result[t, r] = i - n_nodes
    return result


@numba.njit(cache=True, nogil=True)
def _add_up(index: NDArray[np.int32], columns: Floats, result: Floats) -> None:
    for t in range(index.shape[0]):
        for r in range(index.shape[1]):
            for c in range(columns.shape[1]):
                result[t, index[t, r], c] += columns[r, c]
