"""Convex refit of the leaves of a fixed structure: all leaves of all trees together. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from hardgrad.trees.objectives import Objective

REFIT_PATH = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
ITERATIONS = 60

Leaves = tuple[NDArray[np.float64], NDArray[np.float64]]


def refit_leaves(
    index: NDArray[np.int32],
    Y: NDArray[np.float64],
    weight: NDArray[np.float64],
    objective: Objective,
    l2_path: Sequence[float],
    *,
    start: Leaves,
    iterations: int = ITERATIONS,
) -> list[Leaves]:
    """Minimise the weighted sum of losses plus `l2 / 2 * sum(leaf**2)` for each l2 in turn, each started at the one before.

    Parameters
    ----------
    index : int32 [n, trees], the leaf of each row.
    Y, weight : targets [n, outputs] and weights [n].
    l2_path : penalties, largest first.
    start : leaves [trees, leaves, outputs] and bias [outputs] to start from; the bias is free of penalty.

    Returns
    -------
    leaves : one (leaf, bias) for each l2.
    """
    leaf, bias = start
    shape = leaf.shape
    point = np.concatenate([leaf.reshape(-1), bias])
    results = []
    for l2 in l2_path:

        def value_and_gradient(p: NDArray[np.float64], l2: float = l2) -> tuple[float, NDArray[np.float64]]:
            V, c = p[: -len(bias)].reshape(shape), p[-len(bias) :]
            raw = sum_leaves(index, V, c)
            G = (objective.probabilities(raw) - Y) * weight[:, None]
            loss = float(weight @ objective.row_loss(raw, Y)) + 0.5 * l2 * float((V * V).sum())
            gradient = scatter_leaves(index, G, shape[1]) + l2 * V
            return loss, np.concatenate([gradient.reshape(-1), G.sum(axis=0)])

        solved = minimize(
            value_and_gradient,
            point,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": iterations, "maxcor": 20},
        )
        point = solved.x
        results.append((point[: -len(bias)].reshape(shape).copy(), point[-len(bias) :].copy()))
    return results


@numba.njit(cache=True, nogil=True)
def sum_leaves(
    index: NDArray[np.int32], leaf: NDArray[np.float64], bias: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return raw scores [n, outputs]: bias plus leaves in tree order."""
    n, n_trees = index.shape
    raw = np.empty((n, len(bias)))
    for r in range(n):
        for c in range(len(bias)):
            total = bias[c]
            for t in range(n_trees):
                total += leaf[t, index[r, t], c]
            raw[r, c] = total
    return raw


@numba.njit(cache=True, nogil=True)
def scatter_leaves(index: NDArray[np.int32], G: NDArray[np.float64], n_leaves: int) -> NDArray[np.float64]:
    """Return the sum of G [n, outputs] over the rows of each leaf: [trees, leaves, outputs]."""
    n, n_trees = index.shape
    out = np.zeros((n_trees, n_leaves, G.shape[1]))
    for r in range(n):
        for t in range(n_trees):
            for c in range(G.shape[1]):
                out[t, index[r, t], c] += G[r, c]
    return out
