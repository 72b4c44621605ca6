"""BranchTree: a tree of two or many branches a node, walked along one path or along all. The exact artifact; never imports torch.

A node that has a threshold sends a number to its first branch iff it is <= the threshold; any other node has a branch for each code (see
`matching_codes`) that training rows had there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError, DataError
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, Link, TableModel, Task
from hardgrad.trees.matching_codes import MISSING, Floats, Ints, MatchingCodes, settle
from hardgrad.trees.matching_neighbourhood import freeze_arrays

Combine = Literal["single", "weighted", "best", "matches"]
COMBINATIONS: tuple[Combine, ...] = ("single", "weighted", "best", "matches")
BLOCK_PATHS = 2_000_000
"""Paths that are walked at a time, at most."""
MOST_PATHS = 2_000_000
"""Leaves of a tree all of whose paths are walked, at most."""


@dataclass(frozen=True, eq=False)
class BranchTree(TableModel, kind="branch-tree"):
    """A classification tree with the counts of its training rows.

    Parameters
    ----------
    schema, link, task, classes, target : see `TableModel`; the link is "identity", the task "classification".
    offset, edge, exact : see `MatchingCodes`; nodes with a threshold do not use them.
    feature : int32 [nodes], -1 at a leaf; the root is node 0, and every node comes before its children.
    threshold : float64 [nodes], NaN where a node branches by code.
    default : int32 [nodes], the branch of a missing value on a single path, as a position among the children; 0 at a leaf.
    child_offset : int32 [nodes + 1]; node i has the children `child[child_offset[i]:child_offset[i + 1]]`.
    child : int32 [branches].
    branch : int32 [branches], the code of each branch; 0 and 1 at a threshold.
    counts : float64 [nodes, classes], weight of the training rows in each node; one without any has the class shares of its parent.
    combine : "single" path, or one of the ways to combine all paths (see `MultiPathTreePredictor`).
    decay : of "weighted".
    max_mismatches, prune_margin : see `MultiPathTreePredictor`; -1 for none.
    """

    schema: TableSchema
    offset: Ints
    edge: Floats
    exact: NDArray[np.bool_]
    feature: Ints
    threshold: Floats
    default: Ints
    child_offset: Ints
    child: Ints
    branch: Ints
    counts: Floats
    combine: Combine = "single"
    decay: float = 0.0
    max_mismatches: int = -1
    prune_margin: int = -1
    link: Link = "identity"
    task: Task = "classification"
    classes: tuple[Label, ...] = ()
    target: str = ""

    def __post_init__(self) -> None:
        whole = ("offset", "feature", "default", "child_offset", "child", "branch")
        kinds = (
            dict.fromkeys(whole, np.int32)
            | dict.fromkeys(("edge", "threshold", "counts"), np.float64)
            | {"exact": np.bool_}
        )
        freeze_arrays(self, kinds, {"counts": 2})
        MatchingCodes(self.offset, self.edge, self.exact).check(self.n_features)
        n = len(self.feature)
        if n == 0 or len(self.classes) < 2 or self.counts.shape != (n, len(self.classes)):
            raise ArtifactError("there must be nodes, each with a count for each of two classes or more.")
        if len(self.threshold) != n or len(self.default) != n:
            raise ArtifactError("every node needs a threshold and a default.")
        if not ((self.counts >= 0).all() and np.isfinite(self.n_rows).all() and self.n_rows[0] > 0):
            raise ArtifactError("counts must be finite, not negative, and not zero everywhere at the root.")
        if (
            np.isinf(self.threshold).any()
            or not ((self.feature >= -1) & (self.feature < self.n_features)).all()
        ):
            raise ArtifactError("features must exist and thresholds be finite.")
        self._check_children(n)
        if (
            self.combine not in COMBINATIONS
            or not 0 <= self.decay <= 1
            or self.link != "identity"
            or self.task != "classification"
        ):
            raise ArtifactError(
                f"combine must be one of {COMBINATIONS}, decay within 0 and 1, the link 'identity'."
            )
        if any(type(value) is not int or value < -1 for value in (self.max_mismatches, self.prune_margin)):
            raise ArtifactError("max_mismatches and prune_margin must be whole numbers from -1.")

    def _check_children(self, n: int) -> None:
        count = np.diff(self.child_offset)
        if (
            len(self.child_offset) != n + 1
            or self.child_offset[0] != 0
            or (count < 0).any()
            or self.child_offset[-1] != len(self.child)
        ):
            raise ArtifactError("child_offset must rise from 0 to the number of branches.")
        inner = self.feature >= 0
        if (
            ((count > 0) != inner).any()
            or (count[inner & ~np.isnan(self.threshold)] != 2).any()
            or len(self.branch) != len(self.child)
        ):
            raise ArtifactError(
                "a node that is no leaf needs branches, and exactly two where it has a threshold."
            )
        if (self.default < 0).any() or (self.default >= np.maximum(count, 1)).any():
            raise ArtifactError("default must be one of the branches.")
        parent = np.repeat(np.arange(n), count)
        if sorted(self.child.tolist()) != list(range(1, n)) or (self.child <= parent).any():
            raise ArtifactError("every node but the root must be the child of one node before it.")

    # --- shape ---------------------------------------------------------------------------------------------------------------
    @property
    def n_outputs(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @cached_property
    def n_rows(self) -> Floats:
        """Weight of the training rows in each node: float64 [nodes]."""
        return np.asarray(self.counts.sum(axis=1))

    @cached_property
    def parent(self) -> NDArray[np.int64]:
        """The parent of each node, 0 for the root: int64 [nodes]."""
        parent = np.zeros(len(self.feature), dtype=np.int64)
        parent[self.child] = np.repeat(np.arange(len(self.feature)), np.diff(self.child_offset))
        return parent

    @cached_property
    def shares(self) -> Floats:
        """The class shares of each node: float64 [nodes, classes]."""
        shares = self.counts / np.where(self.n_rows > 0, self.n_rows, 1.0)[:, None]
        for node in np.flatnonzero(self.n_rows == 0).tolist():  # parents come first
            shares[node] = shares[self.parent[node]]
        return np.asarray(shares)

    @cached_property
    def height(self) -> NDArray[np.int64]:
        """The longest way from each node down to a leaf: int64 [nodes]."""
        height = np.zeros(len(self.feature), dtype=np.int64)
        for node in range(len(self.feature) - 1, 0, -1):
            height[self.parent[node]] = max(height[self.parent[node]], 1 + height[node])
        return height

    @property
    def n_leaves(self) -> int:
        """Number of leaves, which is the number of paths."""
        return int((self.feature < 0).sum())

    def sizes(self) -> list[tuple[int, str]]:
        """Return what there is to count in the model."""
        return [(self.n_leaves, "leaf"), *super().sizes()]

    def used_features(self) -> NDArray[np.int64]:
        """Return the numbers of the features that some node tests, sorted."""
        return np.unique(self.feature[self.feature >= 0]).astype(np.int64)

    # --- one path ------------------------------------------------------------------------------------------------------------
    def apply(self, X: Floats) -> NDArray[np.int64]:
        """Return the leaf [n] of each row of an encoded matrix on a single path.

        A missing value takes the default branch, one without a branch of its own the branch of most training rows.
        """
        return self._descend(X, self._values(X))[0]

    def _descend(
        self, X: Floats, codes: Ints
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Leaves of the single paths, with the mismatches and matches on the way."""
        node = np.zeros(len(X), dtype=np.int64)
        k, m = np.zeros_like(node), np.zeros_like(node)
        row = np.flatnonzero(self.feature[node] >= 0)
        while len(row):
            paths = _Paths(self, node[row], row, X, codes)
            agreed = paths.agreed_position()
            fallen = np.where(paths.missing, self.default[node[row]], self._largest[node[row]])
            k[row] += ~paths.missing & (agreed < 0)
            m[row] += agreed >= 0
            node[row] = self.child[self.child_offset[node[row]] + np.where(agreed >= 0, agreed, fallen)]
            row = row[self.feature[node[row]] >= 0]
        return node, k, m

    @cached_property
    def _largest(self) -> NDArray[np.int64]:
        """The branch of most training rows of each node, as a position among its children; the first of equal ones."""
        found = np.zeros(len(self.feature), dtype=np.int64)
        for node in np.flatnonzero(self.feature >= 0).tolist():
            found[node] = self.n_rows[
                self.child[self.child_offset[node] : self.child_offset[node + 1]]
            ].argmax()
        return found

    def _values(self, X: Floats) -> Ints:
        return MatchingCodes(self.offset, self.edge, self.exact).codes(X)

    # --- all paths -----------------------------------------------------------------------------------------------------------
    def predict_raw_encoded(self, X: Floats) -> Floats:
        """Return class shares [n, classes] of an encoded matrix (see `TableModel`).

        Raises
        ------
        DataError : the tree has so many leaves that its paths cannot all be walked.
        """
        codes = self._values(X)
        if self.combine == "single":
            leaf = self._descend(X, codes)[0]
            return np.asarray(self.shares[leaf])
        if self.n_leaves > MOST_PATHS:
            raise DataError(
                f"the tree has {self.n_leaves:,} paths; all of at most {MOST_PATHS:,} can be walked. Grow it with max_depth, or use "
                "NearestNeighbourhoodClassifier, which is what a tree of full depth amounts to."
            )
        step = max(1, BLOCK_PATHS // self.n_leaves)
        parts = [self._all_paths(X[i : i + step], codes[i : i + step]) for i in range(0, len(X), step)]
        return np.concatenate(parts) if parts else np.empty((0, self.n_outputs))

    def _all_paths(self, X: Floats, codes: Ints) -> Floats:
        """Walk all paths of some rows, level by level, dropping those that cannot count."""
        n, C = len(X), self.n_outputs
        _, least, most = self._descend(X, codes)
        node, row = np.zeros(n, dtype=np.int64), np.arange(n)
        k, m, weight = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.ones(n)
        done: list[tuple[NDArray[np.int64], ...]] = []
        shares = np.zeros((n, C))
        while len(row):
            leaf = self.feature[node] < 0
            if self.combine == "weighted":
                for c in range(C):
                    value = weight[leaf] * self.shares[node[leaf], c]
                    shares[:, c] += np.bincount(row[leaf], weights=value, minlength=n)
            else:
                done.append((row[leaf], node[leaf], k[leaf], m[leaf]))
            node, row, k, m, weight = self._step(
                node[~leaf], row[~leaf], k[~leaf], m[~leaf], weight[~leaf], X, codes
            )
            keep = self._may_count(node, row, k, m, weight, least, most)
            node, row, k, m, weight = node[keep], row[keep], k[keep], m[keep], weight[keep]
        if self.combine == "weighted":
            total = shares.sum(axis=1, keepdims=True)  # 1, unless mismatches are limited
            return np.asarray(shares / total)
        return self._pooled(n, *(np.concatenate(parts) for parts in zip(*done, strict=True)))

    def _step(
        self,
        node: NDArray[np.int64],
        row: NDArray[np.int64],
        k: NDArray[np.int64],
        m: NDArray[np.int64],
        weight: Floats,
        X: Floats,
        codes: Ints,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats]:
        """Go from inner nodes to all their children."""
        paths = _Paths(self, node, row, X, codes)
        parent, child = paths.parent, paths.child
        agrees, missing = paths.agrees, paths.missing[parent]
        b = paths.count[parent]
        unseen = (paths.agreed_position() < 0)[parent] & ~missing
        total = 1.0 + (b - 1) * self.decay
        factor = np.where(agrees, 1.0 / total, self.decay / total)
        rows = self.n_rows[node[parent]]
        share = np.divide(self.n_rows[child], rows, out=1.0 / b, where=rows > 0)
        factor = np.where(unseen, 1.0 / b, np.where(missing, share, factor))
        return (
            child, row[parent], k[parent] + (~agrees & ~missing), m[parent] + (agrees & ~missing), weight[parent] * factor,
        )  # fmt: skip

    def _may_count(
        self,
        node: NDArray[np.int64],
        row: NDArray[np.int64],
        k: NDArray[np.int64],
        m: NDArray[np.int64],
        weight: Floats,
        least: NDArray[np.int64],
        most: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Tell which paths can still count; `least` and `most` are the mismatches and matches of the single paths."""
        keep = np.ones(len(row), dtype=bool)
        if self.max_mismatches >= 0:
            keep &= k <= np.maximum(self.max_mismatches, least[row])  # the single path is there at least
        if self.combine == "weighted":
            keep &= weight > 0
        elif self.prune_margin >= 0 and self.combine == "best":
            keep &= k <= least[row] + self.prune_margin
        elif self.prune_margin >= 0:
            keep &= m + self.height[node] >= most[row] - self.prune_margin
        return keep

    def _pooled(
        self,
        n: int,
        row: NDArray[np.int64],
        node: NDArray[np.int64],
        k: NDArray[np.int64],
        m: NDArray[np.int64],
    ) -> Floats:
        """Pool the counts of leaves that are equally good, and let the next best decide ties."""
        if self.prune_margin >= 0:
            best = np.full(n, np.iinfo(np.int64).max)
            loss = k if self.combine == "best" else -m
            np.minimum.at(best, row, loss)
            keep = loss <= best[row] + self.prune_margin
            row, node, k, m = row[keep], node[keep], k[keep], m[keep]
        order = (k, -m) if self.combine == "best" else (-m, k)
        _, group = np.unique(order[0] * (2 * len(self.height) + 1) + order[1], return_inverse=True)
        G, C = int(group.max()) + 1, self.n_outputs
        cell = row * G + group
        counts = np.stack(
            [np.bincount(cell, weights=self.counts[node, c], minlength=n * G) for c in range(C)], axis=1
        )
        return settle(np.asarray(counts, dtype=np.float64).reshape(n, G, C))


class _Paths:
    """Some (node, row) pairs at inner nodes with all their branches.

    Attributes: `count` [pairs] of branches; `missing` [pairs]; and for each branch of each pair `parent` (the pair), `child` (the node),
    and `agrees`.
    """

    def __init__(
        self, tree: BranchTree, node: NDArray[np.int64], row: NDArray[np.int64], X: Floats, codes: Ints
    ) -> None:
        feature, threshold = tree.feature[node], tree.threshold[node]
        value = X[row, feature]
        self.missing = np.isnan(value)
        code = np.where(np.isnan(threshold), codes[row, feature], value > threshold)
        first = tree.child_offset[node].astype(np.int64)
        self.count = tree.child_offset[node + 1] - first
        self.parent = np.repeat(np.arange(len(node)), self.count)
        self.position = np.arange(len(self.parent)) - np.repeat(
            np.cumsum(self.count) - self.count, self.count
        )
        place = first[self.parent] + self.position
        self.child = tree.child[place].astype(np.int64)
        self.agrees = (
            (tree.branch[place] == code[self.parent])
            & (tree.branch[place] > MISSING)
            & ~self.missing[self.parent]
        )

    def agreed_position(self) -> NDArray[np.int64]:
        """Return the branch that each pair agrees with, as a position among its children, -1 where there is none."""
        found = np.full(len(self.count), -1, dtype=np.int64)
        found[self.parent[self.agrees]] = self.position[self.agrees]
        return found
