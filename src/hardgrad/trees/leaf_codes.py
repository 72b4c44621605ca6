"""Leaves on a grid of few bits: rounded one by one while the loss is watched, not all at once. Never imports torch."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.greedy import TrainingRows
from hardgrad.trees.leaf_refit import sum_leaves
from hardgrad.trees.objectives import Objective, kernel_probabilities
from hardgrad.trees.perfect import PerfectForest

SWEEPS = 3
# A grid that ends below the largest leaf is finer for all others: confident leaves are few and saturated.
SHARES_OF_RANGE = (1.0, 0.7, 0.5)


def leaf_steps(leaf: NDArray[np.float64], bits: int, share: float = 1.0) -> NDArray[np.float64]:
    """Return the float32 step of the leaf grid of each output: the largest leaf times `share` is the largest code."""
    largest = share * np.abs(leaf).max(axis=(0, 1), initial=0.0)
    whole = 2 ** (bits - 1) - 1
    steps = np.asarray(np.where(largest > 0, largest, 1.0) / whole, dtype=np.float32)
    return np.nextafter(steps, np.float32(np.inf)).astype(np.float64)


def round_leaves(
    forest: PerfectForest,
    index: NDArray[np.int32],
    rows: TrainingRows,
    objective: Objective,
    bits: int,
    l2: float,
    scale: NDArray[np.float64],
    shares: tuple[float, ...] = SHARES_OF_RANGE,
) -> tuple[PerfectForest, NDArray[np.float64]]:
    """Return the forest with leaves on a grid, and the steps of that grid in the units of the artifact.

    Parameters
    ----------
    index : int32 [n, trees], the leaf of each row.
    bits : width of a leaf code.
    l2 : penalty with which the leaves were refitted; inf leaves the codes at the nearest.
    scale : float64 [outputs], units of the artifact in one unit of `forest`.
    shares : parts of the range of the leaves to try; the one of least penalised training loss wins.
    """
    best, best_loss, best_steps = forest, np.inf, scale
    limit = 2 ** (bits - 1) - 1
    for share in shares:
        steps = leaf_steps(forest.leaf * scale, bits, share)
        unit = steps / scale
        code = np.clip(np.rint(forest.leaf / unit), -limit, limit)
        bias = forest.bias.copy()
        if np.isfinite(l2):
            _settle(index, code, unit, bias, rows.Y, rows.weight, objective.code, l2, limit, SWEEPS)
        leaf = code * steps / scale
        raw = sum_leaves(index, leaf, bias)
        loss = float(rows.weight @ objective.row_loss(raw, rows.Y))
        loss += 0.5 * l2 * float((leaf * leaf).sum()) if np.isfinite(l2) else 0.0
        if loss < best_loss:
            best, best_loss, best_steps = replace(forest, leaf=leaf, bias=bias), loss, steps
    return best, best_steps


@numba.njit(cache=True, nogil=True)
def _settle(
    index: NDArray[np.int32],
    code: NDArray[np.float64],
    unit: NDArray[np.float64],
    bias: NDArray[np.float64],
    Y: NDArray[np.float64],
    weight: NDArray[np.float64],
    kind: int,
    l2: float,
    limit: int,
    sweeps: int,
) -> None:
    """Move codes by one, tree by tree, to where a Newton step from the present scores rounds; the bias takes up the rest.

    `code` and `bias` change in place.
    """
    n, n_trees = index.shape
    n_leaves, n_outputs = code.shape[1], code.shape[2]
    raw = sum_leaves(index, code * unit, bias)
    p = np.empty(n_outputs)
    move = np.empty((n_leaves, n_outputs))
    for _ in range(sweeps):
        moved = False
        for t in range(n_trees + 1):  # the last "tree" is the bias
            G, H = np.zeros((n_leaves, n_outputs)), np.full((n_leaves, n_outputs), 1e-9)
            for r in range(n):
                at = index[r, t] if t < n_trees else 0
                kernel_probabilities(kind, raw[r], p)
                for c in range(n_outputs):
                    G[at, c] += weight[r] * (p[c] - Y[r, c])
                    H[at, c] += weight[r] * (1.0 if kind == 0 else p[c] * (1.0 - p[c]))
            if t == n_trees:
                for c in range(n_outputs):
                    shift = min(max(-G[0, c] / H[0, c], -0.5), 0.5)
                    bias[c] += shift
                    for r in range(n):
                        raw[r, c] += shift
                break
            for at in range(n_leaves):
                for c in range(n_outputs):
                    now = code[t, at, c]
                    wish = now - (G[at, c] / unit[c] + l2 * now) / (H[at, c] + l2)
                    step = min(max(np.rint(wish) - now, -1.0), 1.0)
                    if abs(now + step) > limit:
                        step = 0.0
                    code[t, at, c] += step
                    move[at, c] = step * unit[c]
                    moved = moved or step != 0.0
            for r in range(n):
                for c in range(n_outputs):
                    raw[r, c] += move[index[r, t], c]
        if not moved:
            break
