"""Growing a tree with a branch for every value, by information gain (ID3). Arrays only; never imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.matching_codes import Floats, Ints


@dataclass
class GrownTree:
    """Nodes of a tree in the order in which they were made; the arrays of `BranchTree` before they are arrays."""

    feature: list[int] = field(default_factory=list)
    counts: list[Floats] = field(default_factory=list)
    children: list[list[tuple[int, int]]] = field(default_factory=list)
    """(code of the branch, node) of each child of each node."""

    def add(self, label: NDArray[np.int64], weight: Floats, n_classes: int) -> int:
        """Add a leaf with its training rows and return its number."""
        self.feature.append(-1)
        self.counts.append(np.bincount(label, weights=weight, minlength=n_classes).astype(np.float64))
        self.children.append([])
        return len(self.feature) - 1


def grow_id3(
    codes: Ints,
    label: NDArray[np.int64],
    weight: Floats,
    n_classes: int,
    *,
    full: bool,
    max_depth: int | None,
) -> GrownTree:
    """Grow a tree.

    Parameters
    ----------
    codes : int32 [n, features]; a missing value is a branch of its own.
    label : class numbers [n].
    weight : [n], positive.
    full : whether to test every attribute on every path; otherwise a node that is pure, or whose rows are all alike, is a leaf.
    max_depth : levels of branches, None for no limit.
    """
    tree = GrownTree()
    everything = np.arange(len(label))
    root = tree.add(label, weight, n_classes)
    stack = [(root, everything, tuple(range(codes.shape[1])))]
    while stack:
        node, rows, features = stack.pop()
        depth = codes.shape[1] - len(features)
        pure = np.count_nonzero(tree.counts[node]) <= 1
        if not features or (max_depth is not None and depth >= max_depth) or (pure and not full):
            continue
        varies = (codes[rows] != codes[rows[0]]).any(axis=0)
        candidates = features if full else tuple(f for f in features if varies[f])
        if not candidates:
            continue
        chosen = _best_feature(codes[rows], label[rows], weight[rows], n_classes, candidates)
        tree.feature[node] = chosen
        rest = tuple(f for f in features if f != chosen)
        value = codes[rows, chosen]
        for code in np.unique(value).tolist():
            inside = rows[value == code]
            child = tree.add(label[inside], weight[inside], n_classes)
            tree.children[node].append((code, child))
            stack.append((child, inside, rest))
    return tree


def _best_feature(
    codes: Ints, label: NDArray[np.int64], weight: Floats, n_classes: int, features: tuple[int, ...]
) -> int:
    """The feature of the largest information gain, which leaves the fewest bits; the first of equal ones."""
    chosen = codes[:, list(features)].astype(np.int64)
    chosen -= chosen.min()
    K, F = int(chosen.max()) + 1, len(features)
    cell = ((np.arange(F) * K + chosen) * n_classes + label[:, None]).ravel()
    counts = np.bincount(cell, weights=np.repeat(weight, F), minlength=F * K * n_classes)
    left = _bits(np.asarray(counts, dtype=np.float64).reshape(F * K, n_classes)).reshape(F, K).sum(axis=1)
    # Gains that mean the same must not differ by rounding.
    return features[int(np.argmin(np.round(left / weight.sum(), 9)))]


def _bits(counts: Floats) -> Floats:
    """Rows of each group times the entropy of their classes, in bits: [groups]."""
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    logarithm = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return np.asarray(-(counts * logarithm).sum(axis=1))
