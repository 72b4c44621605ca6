"""Ready solvers for `black_box`, exact: shortest path, assignment, spanning tree, k best. NumPy in and out; imported late, no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import InputError, ParameterError

Floats = NDArray[np.float64]


def shortest_path(costs: Floats, *, neighbours: int = 8) -> Floats:
    """Return which cells of a grid the cheapest path from the first to the last corner visits: 0 or 1, in the shape of the costs.

    Parameters
    ----------
    costs : (height, width), what visiting a cell costs; negative costs count as 0.
    neighbours : 8 (also over corners) or 4.

    Examples
    --------
    >>> shortest_path(np.array([[1.0, 9.0], [1.0, 1.0]]), neighbours=4).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    from scipy.sparse import csgraph, csr_array

    if neighbours not in (4, 8):
        raise ParameterError(f"shortest_path() got neighbours={neighbours!r}; expected 4 or 8.")
    height, width = _matrix("shortest_path", costs)
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)][:neighbours]
    row, column = np.divmod(np.arange(height * width), width)
    tails, heads = [], []
    for down, right in steps:
        inside = (row + down >= 0) & (row + down < height) & (column + right >= 0) & (column + right < width)
        tails.append(np.flatnonzero(inside))
        heads.append(tails[-1] + down * width + right)
    tail, head = np.concatenate(tails), np.concatenate(heads)
    # An arc costs what its head costs, raised a little above 0: a sparse graph has no arc of length 0.
    length = np.maximum(costs.reshape(-1), 0.0)[head] + 1e-12
    graph: Any = csr_array((length, (tail, head)), shape=(height * width,) * 2)
    solve: Any = csgraph.dijkstra
    _, before = solve(graph, indices=0, return_predecessors=True)
    path = np.zeros(height * width)
    cell = height * width - 1
    while cell >= 0:
        path[cell] = 1.0
        cell = int(before[cell])
    return path.reshape(height, width)


def assignment(costs: Floats) -> Floats:
    """Return the cheapest assignment of rows to columns as a 0-1 matrix in the shape of the costs.

    Examples
    --------
    >>> assignment(np.array([[4.0, 1.0], [2.0, 3.0]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    from scipy.optimize import linear_sum_assignment

    _matrix("assignment", costs)
    matched = np.zeros(costs.shape)
    matched[linear_sum_assignment(costs)] = 1.0
    return matched


def spanning_tree(costs: Floats) -> Floats:
    """Return the cheapest spanning tree of a complete graph: 1 above the diagonal where an edge is in the tree, in the shape of the costs.

    Parameters
    ----------
    costs : (n, n); the entry (i, j) with i < j is that of the edge between i and j, the rest is not looked at.

    Examples
    --------
    >>> spanning_tree(np.array([[0.0, 1.0, 5.0], [0.0, 0.0, -2.0], [0.0, 0.0, 0.0]])).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    from scipy.sparse.csgraph import minimum_spanning_tree

    height, width = _matrix("spanning_tree", costs)
    if height != width:
        raise InputError(f"spanning_tree() got costs of shape {costs.shape}; expected a square matrix.")
    tree = np.zeros(costs.shape)
    if height > 1:
        above = np.triu_indices(height, 1)
        # Every spanning tree has as many edges, so a constant changes nothing and keeps all lengths positive.
        lengths = np.zeros(costs.shape)
        lengths[above] = costs[above] - costs[above].min() + 1.0
        tree[minimum_spanning_tree(lengths).nonzero()] = 1.0
    return tree


def k_best(scores: Floats, *, k: int) -> Floats:
    """Return 1 for the k elements with the largest scores, else 0. A maximising solver.

    Examples
    --------
    >>> k_best(np.array([0.1, 0.9, 0.5]), k=2).tolist()
    [0.0, 1.0, 1.0]
    """
    if not 0 <= k <= len(scores):
        raise ParameterError(f"k_best() got k={k} for {len(scores)} scores; expected 0 to {len(scores)}.")
    chosen = np.zeros(scores.shape)
    chosen[np.argsort(-scores, kind="stable")[:k]] = 1.0
    return chosen


@dataclass(frozen=True)
class ReadySolver:
    """A solver that `black_box` knows by name: what it does and over how many trailing dimensions one instance extends."""

    solve: Callable[..., Floats]
    sense: str
    dims: int


READY: dict[str, ReadySolver] = {
    "assignment": ReadySolver(assignment, "minimise", 2),
    "k_best": ReadySolver(k_best, "maximise", 1),
    "shortest_path": ReadySolver(shortest_path, "minimise", 2),
    "spanning_tree": ReadySolver(spanning_tree, "minimise", 2),
}


def _matrix(name: str, costs: Any) -> tuple[int, int]:
    if costs.ndim != 2 or not costs.size:
        raise InputError(f"{name}() got costs of shape {costs.shape}; expected a matrix that is not empty.")
    height, width = costs.shape
    return height, width
