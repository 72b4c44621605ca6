"""Greedy oblivious trees: all nodes of a level share one test. Never imports torch."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.greedy import TrainingRows, newton_leaves, newton_targets, perfect_from_codes
from hardgrad.trees.grower import N_CODES, GrownTree
from hardgrad.trees.objectives import Objective
from hardgrad.trees.perfect import PerfectForest


def boost_oblivious(
    rows: TrainingRows,
    codes: FeatureCodes,
    objective: Objective,
    rounds: int,
    learning_rate: float,
    depth: int,
) -> PerfectForest:
    """Grow oblivious trees one after another on Newton targets (see `greedy.boost`)."""
    bias = objective.base_score(rows.Y, rows.weight)
    raw = np.repeat(bias[None, :], len(rows), axis=0)
    trees, leaves = [], []
    for _ in range(rounds):
        gradient, hessian = objective.gradient_hessian(raw, rows.Y)
        target, weight = newton_targets(objective, gradient, hessian, rows.weight)
        tree = _grow_oblivious(rows.codes, target, weight, depth)
        leaf = (
            newton_leaves(tree.leaf_index, gradient, hessian, rows.weight, 2**depth, objective)
            * learning_rate
        )
        raw += leaf[tree.leaf_index]
        trees.append(tree)
        leaves.append(leaf)
    return perfect_from_codes(trees, leaves, bias, codes, depth)


def _grow_oblivious(
    codes: NDArray[np.uint8], target: NDArray[np.float64], weight: NDArray[np.float64], depth: int
) -> GrownTree:
    feature = np.full(2**depth - 1, -1, dtype=np.int32)
    code = np.zeros(2**depth - 1, dtype=np.int32)
    group = np.zeros(len(codes), dtype=np.int64)
    for level in range(depth):
        f, k = _best_shared_split(codes, target, weight, group, 2**level)
        if f >= 0:
            nodes = slice(2**level - 1, 2 ** (level + 1) - 1)
            feature[nodes], code[nodes] = f, k
            group = 2 * group + (codes[:, f] > k)
        else:
            group = 2 * group
    return GrownTree(feature, code, group.astype(np.int32))


@numba.njit(cache=True, nogil=True)
def _best_shared_split(
    codes: NDArray[np.uint8],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    group: NDArray[np.int64],
    n_groups: int,
) -> tuple[int, int]:
    """Return (feature, code) of the test that gains most when every group is split by it; (-1, 0) where none gains."""
    n, n_features = codes.shape
    C = target.shape[1]
    best, best_feature, best_code = 1e-12, -1, 0
    histogram = np.empty((n_groups, N_CODES, C + 1))
    total = np.empty((n_groups, C + 1))
    left = np.empty((n_groups, C + 1))
    for f in range(n_features):
        histogram[:] = 0.0
        total[:] = 0.0
        left[:] = 0.0
        for r in range(n):
            cell, whole = histogram[group[r], codes[r, f]], total[group[r]]
            for c in range(C):
                cell[c] += weight[r] * target[r, c]
                whole[c] += weight[r] * target[r, c]
            cell[C] += weight[r]
            whole[C] += weight[r]
        for k in range(N_CODES - 1):
            gain = 0.0
            for g in range(n_groups):
                left[g] += histogram[g, k]
                w_left, w_right = left[g, C], total[g, C] - left[g, C]
                if w_left <= 1e-9 or w_right <= 1e-9:
                    continue
                for c in range(C):
                    gain += left[g, c] ** 2 / w_left + (total[g, c] - left[g, c]) ** 2 / w_right
                    gain -= total[g, c] ** 2 / total[g, C]
            if gain > best * (1.0 + 1e-9):
                best, best_feature, best_code = gain, f, k
    return best_feature, best_code
