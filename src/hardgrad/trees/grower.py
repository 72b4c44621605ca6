"""One greedy tree on feature codes: best-first growth by histograms, with vector targets. The kernel of every greedy start.

The tree minimises the weighted squared error of the targets over its leaves, like a regression tree; what its leaves finally hold is up
to the caller. Never imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.codes import MAX_CUTS

N_CODES = MAX_CUTS + 1


@dataclass(frozen=True)
class GrownTree:
    """A tree on codes in level order: row goes right iff `codes[feature] > code`; feature -1 is a dead node (all rows go left)."""

    feature: NDArray[np.int32]
    code: NDArray[np.int32]
    leaf_index: NDArray[np.int32]


def grow_tree(
    codes: NDArray[np.uint8],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    *,
    max_depth: int,
    max_leaves: int | None = None,
    min_rows: int = 10,
    rows: NDArray[np.int64] | None = None,
    features: NDArray[np.int64] | None = None,
    share: NDArray[np.float64] | None = None,
) -> GrownTree:
    """Grow one tree.

    Parameters
    ----------
    codes : uint8 [n, features], below 64.
    target : float64 [n, outputs].
    weight : float64 [n]; rows of weight 0 still count for `min_rows`.
    max_depth, max_leaves : bounds on the shape; `max_leaves` is 2**max_depth by default.
    min_rows : least number of rows in a leaf.
    rows, features : subsets to grow on; all by default.
    share : float64 [features of `codes`], the part of a split's gain that counts when splits are compared; it becomes 1 for every
        feature that the tree takes (in place, so that the next tree knows). All 1 by default.

    Returns
    -------
    tree : `leaf_index` int32 [n] holds the leaf of EVERY row of `codes`, numbered from the left among 2**max_depth.
    """
    used_rows = np.arange(len(codes)) if rows is None else rows
    used_features = np.arange(codes.shape[1]) if features is None else features
    feature, code = _grow(
        codes, target, weight, used_rows.astype(np.int64), used_features.astype(np.int64), max_depth,
        max_leaves or 2**max_depth, min_rows, np.ones(codes.shape[1]) if share is None else share,
    )  # fmt: skip
    return GrownTree(feature, code, descend_codes(feature, code, codes))


@numba.njit(cache=True, nogil=True)
def descend_codes(
    feature: NDArray[np.int32], code: NDArray[np.int32], codes: NDArray[np.uint8]
) -> NDArray[np.int32]:
    """Return the leaf of each row of codes, numbered from the left."""
    n_nodes = len(feature)
    result = np.empty(codes.shape[0], dtype=np.int32)
    for r in range(codes.shape[0]):
        i = 0
        while i < n_nodes:
            right = feature[i] >= 0 and codes[r, feature[i]] > code[i]
            i = 2 * i + (2 if right else 1)
        result[r] = i - n_nodes
    return result


@numba.njit(cache=True, nogil=True)
def _histogram(
    codes: NDArray[np.uint8],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    rows: NDArray[np.int64],
    features: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Fill out [features, codes, outputs + 2] with the sums of weighted targets, weights and rows."""
    out[:] = 0.0
    n_outputs = target.shape[1]
    for i in range(len(rows)):
        r = rows[i]
        w = weight[r]
        for j in range(len(features)):
            cell = out[j, codes[r, features[j]]]
            for c in range(n_outputs):
                cell[c] += w * target[r, c]
            cell[n_outputs] += w
            cell[n_outputs + 1] += 1.0


@numba.njit(cache=True, nogil=True)
def _best_split(
    histogram: NDArray[np.float64], min_rows: int, features: NDArray[np.int64], share: NDArray[np.float64]
) -> tuple[float, int, int]:
    """Return (counted gain, position of the feature, code) of the best split of one node; gain 0 where there is none."""
    n_features, n_codes, width = histogram.shape
    n_outputs = width - 2
    best_gain, best_feature, best_code = 0.0, -1, -1
    total = histogram[0].sum(axis=0)
    if total[n_outputs] <= 0.0:
        return best_gain, best_feature, best_code
    parent = 0.0
    for c in range(n_outputs):
        parent += total[c] ** 2 / total[n_outputs]
    left = np.empty(width)
    for j in range(n_features):
        left[:] = 0.0
        for k in range(n_codes - 1):
            if histogram[j, k, n_outputs + 1] == 0.0:
                continue
            left += histogram[j, k]
            w_left, w_right = left[n_outputs], total[n_outputs] - left[n_outputs]
            if left[n_outputs + 1] < min_rows or w_left <= 1e-12:
                continue
            if total[n_outputs + 1] - left[n_outputs + 1] < min_rows or w_right <= 1e-12:
                break
            gain = -parent
            for c in range(n_outputs):
                gain += left[c] ** 2 / w_left + (total[c] - left[c]) ** 2 / w_right
            gain *= share[features[j]]
            if gain > best_gain * (1.0 + 1e-9) + 1e-12:
                best_gain, best_feature, best_code = gain, j, k
    return best_gain, best_feature, best_code


@numba.njit(cache=True, nogil=True)
def _grow(
    codes: NDArray[np.uint8],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    rows: NDArray[np.int64],
    features: NDArray[np.int64],
    max_depth: int,
    max_leaves: int,
    min_rows: int,
    share: NDArray[np.float64],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    n_nodes = 2**max_depth - 1
    feature = np.full(n_nodes, -1, dtype=np.int32)
    code = np.zeros(n_nodes, dtype=np.int32)
    order = rows.copy()
    spare = np.empty_like(order)
    width = target.shape[1] + 2
    # One slot a leaf of the tree so far: its node, its rows order[start:stop], its histogram and its best split.
    node = np.zeros(max_leaves, dtype=np.int64)
    start = np.zeros(max_leaves, dtype=np.int64)
    stop = np.zeros(max_leaves, dtype=np.int64)
    histogram = np.zeros((max_leaves, len(features), N_CODES, width))
    gain = np.zeros(max_leaves)
    split_feature = np.zeros(max_leaves, dtype=np.int64)
    split_code = np.zeros(max_leaves, dtype=np.int64)
    stop[0] = len(order)
    if n_nodes == 0:
        return feature, code
    _histogram(codes, target, weight, order, features, histogram[0])
    gain[0], split_feature[0], split_code[0] = _best_split(histogram[0], min_rows, features, share)
    n_leaves = 1
    while n_leaves < max_leaves:
        slot = int(np.argmax(gain[:n_leaves]))
        if gain[slot] <= 0.0:
            break
        f, k, i = features[split_feature[slot]], split_code[slot], node[slot]
        feature[i], code[i] = f, k
        newly_cheap, share[f] = share[f] < 1.0, 1.0
        middle, tail = start[slot], 0
        for position in range(start[slot], stop[slot]):
            r = order[position]
            if codes[r, f] > k:
                spare[tail] = r
                tail += 1
            else:
                order[middle] = r
                middle += 1
        order[middle : stop[slot]] = spare[:tail]
        new = n_leaves
        n_leaves += 1
        node[slot], node[new] = 2 * i + 1, 2 * i + 2
        start[new], stop[new], stop[slot] = middle, stop[slot], middle
        # Count the smaller child; the other is the difference.
        if stop[slot] - start[slot] <= stop[new] - start[new]:
            small, large = slot, new
            histogram[new] = histogram[slot]
        else:
            small, large = new, slot
        _histogram(codes, target, weight, order[start[small] : stop[small]], features, histogram[small])
        histogram[large] -= histogram[small]
        for leaf in range(n_leaves):
            if leaf != slot and leaf != new and not newly_cheap:
                continue
            gain[leaf] = 0.0
            if node[leaf] < n_nodes and stop[leaf] - start[leaf] >= 2 * min_rows:
                gain[leaf], split_feature[leaf], split_code[leaf] = _best_split(
                    histogram[leaf], min_rows, features, share
                )
    return feature, code
