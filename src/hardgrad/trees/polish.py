"""Exact polish: coordinate moves of single nodes, each the best there is with all else fixed (tree alternating optimisation).

Source: M. A. Carreira-Perpinan and P. Tavallali, "Alternating optimization of decision trees" (2018), restated for summed trees and any
loss. Never imports torch.
"""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.greedy import TrainingRows
from hardgrad.trees.objectives import Objective, kernel_loss, kernel_probabilities
from hardgrad.trees.perfect import PerfectForest

SWEEPS = 2
MOVES = 3
LEAST_GAIN = 0.05
NEW_FEATURE_GAIN = 4.0
LEAST_ROWS = 20
LEAF_PENALTY = 1.0
LEAF_STEP = 2.0
MAX_ROWS = 8192


def polish(
    forest: PerfectForest,
    rows: TrainingRows,
    objective: Objective,
    *,
    sweeps: int = SWEEPS,
    new_features: bool = True,
    random_state: int = 0,
) -> PerfectForest:
    """Improve every node and leaf of a forest by exact coordinate moves; the training loss never rises.

    Parameters
    ----------
    forest : structure to improve.
    rows : training rows; a seeded sample of at most 8,192 of them is used.
    sweeps : passes over all trees, in random order.
    new_features : let a node take up features it does not use (at most four in all).
    """
    rng = np.random.default_rng(random_state)
    if len(rows) > MAX_ROWS:
        rows = rows.take(np.sort(rng.choice(len(rows), MAX_ROWS, replace=False)))
    feature, weight = forest.feature.copy(), forest.weight.copy()
    offset, leaf = forest.offset.copy(), forest.leaf.copy()
    raw = np.ascontiguousarray(forest.raw(rows.scores))
    columns = np.ascontiguousarray(rows.scores.T)
    for _ in range(sweeps):
        for tree in rng.permutation(forest.n_trees):
            _polish_tree(
                feature[tree], weight[tree], offset[tree], leaf[tree], raw, rows.scores, columns, rows.Y, rows.weight,
                objective.code, new_features,
            )  # fmt: skip
    return replace(forest, feature=feature, weight=weight, offset=offset, leaf=leaf)


@numba.njit(cache=True, nogil=True)
def _node_sum(
    feature: NDArray[np.int32], weight: NDArray[np.float64], offset: float, row: NDArray[np.float32]
) -> float:
    z = offset
    for k in range(len(feature)):
        if feature[k] >= 0:
            z += weight[k] * np.float64(row[feature[k]])
    return z


@numba.njit(cache=True, nogil=True)
def _leaf_below(
    start: int,
    feature: NDArray[np.int32],
    weight: NDArray[np.float64],
    offset: NDArray[np.float64],
    row: NDArray[np.float32],
) -> int:
    i = start
    n_nodes = len(offset)
    while i < n_nodes:
        i = 2 * i + (2 if _node_sum(feature[i], weight[i], offset[i], row) > 0.0 else 1)
    return i - n_nodes


@numba.njit(cache=True, nogil=True)
def _best_shift(
    z: NDArray[np.float64], x: NDArray[np.float32], d: NDArray[np.float64], constant: bool
) -> tuple[float, float]:
    """Return (gain, shift): the change of one weight (or of the offset) that sends the most valuable rows right.

    A row's sum is z + shift * x (x = 1 for the offset), and a row that goes right earns d.
    """
    n = len(z)
    switch = np.empty(n)
    worth = np.empty(n)
    m = 0
    now, value = 0.0, 0.0
    for r in range(n):
        if z[r] > 0.0:
            now += d[r]
        xr = 1.0 if constant else np.float64(x[r])
        if xr == 0.0:
            if z[r] > 0.0:
                value += d[r]
            continue
        if xr < 0.0:  # right at shift -> -infinity
            value += d[r]
        switch[m] = -z[r] / xr
        worth[m] = d[r] if xr > 0.0 else -d[r]
        m += 1
    if m < 2:
        return 0.0, 0.0
    order = np.argsort(switch[:m])
    best, best_shift = now, 0.0
    for p in range(m - 1):
        value += worth[order[p]]
        low, high = switch[order[p]], switch[order[p + 1]]
        if high - low > 1e-9 and value > best + 1e-12:
            best, best_shift = value, 0.5 * (low + high)
    return best - now, best_shift


@numba.njit(cache=True, nogil=True)
def _polish_node(
    feature: NDArray[np.int32],
    weight: NDArray[np.float64],
    offset: float,
    reach: NDArray[np.int64],
    d: NDArray[np.float64],
    scores: NDArray[np.float32],
    columns: NDArray[np.float32],
    new_features: bool,
) -> float:
    """Make at most three moves of one node's weights and offset; return the new offset. `feature` and `weight` change in place."""
    n = len(reach)
    z = np.empty(n)
    for r in range(n):
        z[r] = _node_sum(feature, weight, offset, scores[reach[r]])
    hope = 0.0  # no placement of the rows can gain more than this
    for r in range(n):
        hope += max(d[r], 0.0) if z[r] <= 0.0 else max(-d[r], 0.0)
    x = np.empty(n, dtype=np.float32)
    for _ in range(MOVES):
        if hope < LEAST_GAIN:
            break
        best, shift = _best_shift(z, x, d, True)
        place = -2 if best >= LEAST_GAIN else -1
        free = -1
        for k in range(len(feature)):
            if feature[k] < 0 and free < 0:
                free = k
        for f in range(columns.shape[0]):
            slot = -1
            for k in range(len(feature)):
                if feature[k] == f:
                    slot = k
            needed = LEAST_GAIN
            if slot < 0:
                needed = NEW_FEATURE_GAIN
                slot = free
                if free < 0 or not new_features or n < LEAST_ROWS or hope < needed:
                    continue
            for r in range(n):
                x[r] = columns[f, reach[r]]
            gain, move = _best_shift(z, x, d, False)
            if gain >= needed and (place == -1 or gain > best):
                best, shift, place, chosen = gain, move, slot, f
        if place == -1:
            break
        if place == -2:
            offset += shift
            for r in range(n):
                z[r] += shift
        else:
            if feature[place] < 0:
                feature[place] = chosen
                weight[place] = 0.0
            weight[place] += shift
            for r in range(n):
                z[r] += shift * np.float64(columns[chosen, reach[r]])
        hope -= best
    return offset


@numba.njit(cache=True, nogil=True)
def _polish_tree(
    feature: NDArray[np.int32],
    weight: NDArray[np.float64],
    offset: NDArray[np.float64],
    leaf: NDArray[np.float64],
    raw: NDArray[np.float64],
    scores: NDArray[np.float32],
    columns: NDArray[np.float32],
    Y: NDArray[np.float64],
    row_weight: NDArray[np.float64],
    code: int,
    new_features: bool,
) -> None:
    n, n_nodes = scores.shape[0], len(offset)
    index = np.empty(n, dtype=np.int64)
    for r in range(n):
        index[r] = _leaf_below(0, feature, weight, offset, scores[r])
        raw[r] -= leaf[index[r]]
    reach = np.empty(n, dtype=np.int64)
    d = np.empty(n)
    for i in range(n_nodes - 1, -1, -1):
        if feature[i].max() < 0:
            continue
        first, width = i, 1  # the leaves below node i
        while first < n_nodes:
            first, width = 2 * first + 1, 2 * width
        first -= n_nodes
        m = 0
        for r in range(n):
            if first <= index[r] < first + width:
                reach[m] = r
                a = _leaf_below(2 * i + 1, feature, weight, offset, scores[r])
                b = _leaf_below(2 * i + 2, feature, weight, offset, scores[r])
                d[m] = 0.0
                if a != b:
                    left = kernel_loss(code, raw[r], leaf[a], Y[r])
                    d[m] = row_weight[r] * (left - kernel_loss(code, raw[r], leaf[b], Y[r]))
                m += 1
        if m >= 2:
            offset[i] = _polish_node(
                feature[i], weight[i], offset[i], reach[:m], d[:m], scores, columns, new_features
            )
    for r in range(n):
        index[r] = _leaf_below(0, feature, weight, offset, scores[r])
    _newton_leaf_steps(leaf, index, raw, Y, row_weight, code)
    for r in range(n):
        raw[r] += leaf[index[r]]


@numba.njit(cache=True, nogil=True)
def _newton_leaf_steps(
    leaf: NDArray[np.float64],
    index: NDArray[np.int64],
    raw: NDArray[np.float64],
    Y: NDArray[np.float64],
    row_weight: NDArray[np.float64],
    code: int,
) -> None:
    """Take two damped Newton steps on the leaves of one tree; `raw` holds the scores without this tree."""
    n_outputs = raw.shape[1]
    p = np.empty(n_outputs)
    for _ in range(2):
        G = leaf * LEAF_PENALTY
        H = np.full(leaf.shape, LEAF_PENALTY)
        for r in range(len(index)):
            at = index[r]
            kernel_probabilities(code, raw[r] + leaf[at], p)
            for c in range(n_outputs):
                G[at, c] += row_weight[r] * (p[c] - Y[r, c])
                H[at, c] += row_weight[r] * (1.0 if code == 0 else p[c] * (1.0 - p[c]))
        for at in range(leaf.shape[0]):
            for c in range(n_outputs):
                step = G[at, c] / H[at, c]
                leaf[at, c] -= min(max(step, -LEAF_STEP), LEAF_STEP)
