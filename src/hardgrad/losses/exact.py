"""The exact counterparts of the losses, on NumPy alone: what a metric really is, and what an adaptive algorithm really costs."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardgrad.core.errors import InputError

Floats = NDArray[np.float64]


def run_entropy(x: ArrayLike, *, margin: float = 0.0) -> Floats:
    """Return the entropy of the partition of each list into non-descending runs, in bits.

    Parameters
    ----------
    x : (..., n), finite.
    margin : added to every difference; neighbours that fall by at most this much stay in one run.

    Returns
    -------
    entropy : shape (...): sum over runs of share * log2(1 / share); 0 for a sorted list, log2 n where every run has one element.

    Raises
    ------
    InputError : no elements, or values that are not finite.

    Examples
    --------
    >>> float(run_entropy([3, 1, 2, 5, 4, 6]))  # runs of 1, 3 and 2
    1.459148

    Source: Eppstein, Goodrich, Illickan and To, 2025, on range-partition entropy.
    """
    values = _finite("run_entropy", x)
    n = values.shape[-1]
    starts = np.ones(values.shape, dtype=bool)
    starts[..., 1:] = np.diff(values, axis=-1) + margin < 0
    first = np.maximum.accumulate(np.where(starts, np.arange(n), 0), axis=-1)
    ends = np.ones(values.shape, dtype=bool)
    ends[..., :-1] = starts[..., 1:]
    last = np.flip(np.minimum.accumulate(np.flip(np.where(ends, np.arange(n), n), -1), axis=-1), -1)
    entropy: Floats = np.log2(n) - np.log2(last - first + 1).mean(-1)
    return np.abs(entropy)  # -0.0 and rounding below it


def range_entropy(
    points: ArrayLike,
    anchors: ArrayLike | None = None,
    *,
    halfspaces: tuple[ArrayLike, ArrayLike] | None = None,
) -> Floats:
    """Return the entropy, in bits, of the partition of points by their nearest anchors or by the cells of half-spaces.

    Parameters
    ----------
    points : (..., n, d), finite.
    anchors : (k, d); a point belongs to the nearest, the first of equals.
    halfspaces : in place of anchors, normals (m, d) and offsets (m,); points with the same signs of normal . x - offset share a cell.

    Raises
    ------
    InputError : no points, values that are not finite, shapes that do not fit, neither or both of anchors and halfspaces.

    Examples
    --------
    >>> float(range_entropy([[0.0], [0.1], [1.0], [1.1]], anchors=[[0.0], [1.0]]))
    1.0
    """
    x = _finite("range_entropy", points)
    if (anchors is None) == (halfspaces is None):
        raise InputError(
            "range_entropy() got neither or both of anchors and halfspaces; expected one of them."
        )
    if anchors is not None:
        centres = _finite("range_entropy", anchors)
        cells = ((x[..., None, :] - centres) ** 2).sum(-1).argmin(-1)
        count = len(centres)
    else:
        assert halfspaces is not None
        normals, offsets = (_finite("range_entropy", part) for part in halfspaces)
        above = x @ normals.T - offsets > 0
        cells, count = above @ (1 << np.arange(len(normals))), 1 << len(normals)
    share = (cells[..., None] == np.arange(count)).mean(-2)
    entropy: Floats = -(share * np.log2(np.where(share > 0, share, 1.0))).sum(-1)
    return np.abs(entropy)


def natural_merge_cost(x: ArrayLike) -> int:
    """Return how many comparisons Python's own adaptive merge sort makes to sort a list.

    Parameters
    ----------
    x : (n,), finite.

    Examples
    --------
    >>> natural_merge_cost(range(100))  # one run: every neighbour is looked at once
    99
    """
    compared = 0

    def compare(a: Any, b: Any) -> int:
        nonlocal compared
        compared += 1
        return -1 if a < b else int(a > b)

    sorted(_finite("natural_merge_cost", x).tolist(), key=functools.cmp_to_key(compare))
    return compared


def convex_hull_cost(points: ArrayLike) -> int:
    """Return how many orientation tests quickhull makes on points of the plane.

    Parameters
    ----------
    points : (n, 2), finite.

    Returns
    -------
    tests : n for the first split, then two for each point that is left at each level.

    Raises
    ------
    InputError : points that are not finite, or not in the plane.

    Examples
    --------
    >>> convex_hull_cost([[0, 0], [2, 0], [1, 1], [1, 0.5]])  # four for the split, two for each of the two points above the line
    8
    """
    x = _finite("convex_hull_cost", points)
    if x.ndim != 2 or x.shape[1] != 2:
        raise InputError(f"convex_hull_cost() got points of shape {x.shape}; expected (n, 2).")
    order = np.lexsort((x[:, 1], x[:, 0]))
    left, right = x[order[0]], x[order[-1]]
    side = _orientation(left, right, x)
    tests = len(x)
    pending = [(left, right, x[side > 0]), (right, left, x[side < 0])]
    while pending:
        a, b, outside = pending.pop()
        if not len(outside):
            continue
        top = outside[_orientation(a, b, outside).argmax()]
        tests += 2 * len(outside)
        for start, end in ((a, top), (top, b)):
            pending.append((start, end, outside[_orientation(start, end, outside) > 0]))
    return tests


def _orientation(a: Floats, b: Floats, points: Floats) -> Floats:
    """Twice the signed area of the triangle a, b, point: positive to the left of the arrow from a to b."""
    area: Floats = (b[0] - a[0]) * (points[:, 1] - a[1]) - (b[1] - a[1]) * (points[:, 0] - a[0])
    return area


def _finite(name: str, x: ArrayLike) -> Floats:
    values = np.asarray(x if not isinstance(x, range) else list(x), dtype=np.float64)
    if not values.size:
        raise InputError(f"{name}() got no elements (shape {values.shape}); expected at least one.")
    if not np.isfinite(values).all():
        raise InputError(f"{name}() got NaN or infinity; expected finite numbers. Fill or drop them first.")
    return values


def ndcg(
    scores: ArrayLike,
    relevance: ArrayLike,
    k: int | None = None,
    mask: ArrayLike | None = None,
    *,
    gain: str = "exponential",
    ties: str = "position",
) -> Floats:
    """Return the normalised discounted cumulative gain of each list: 1 where the scores put the relevant items first.

    Parameters
    ----------
    scores : (..., n), largest first.
    relevance : (..., n), not negative.
    k : only the first k places count; all by default.
    mask : (..., n), True for items that are there; all by default.
    gain : "exponential", 2^relevance - 1, or "linear".
    ties : among equal scores, "position" puts the first item first, "average" gives each the mean gain of all of them.

    Returns
    -------
    ndcg : shape (...), between 0 and 1; 0 for a list without relevant items, as in scikit-learn.

    Raises
    ------
    InputError : shapes that differ, values that are not finite, negative relevance, another gain or ties, k below 1.

    Examples
    --------
    >>> float(ndcg([0.5, 2.0, -1.0, 1.0], [3, 1, 0, 2]))
    0.680606

    Source: Jarvelin and Kekalainen, 2002, Cumulated Gain-Based Evaluation of IR Techniques.
    """
    if (
        gain not in ("exponential", "linear")
        or ties not in ("position", "average")
        or (k is not None and k < 1)
    ):
        raise InputError(
            f"ndcg() got gain={gain!r}, ties={ties!r} and k={k!r}; expected 'exponential' or 'linear', 'position' or 'average', k >= 1."
        )
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(relevance, dtype=np.float64)
    there = np.ones(s.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if not s.shape == y.shape == there.shape or s.ndim < 1:
        raise InputError(
            f"ndcg() got scores {s.shape}, relevance {y.shape} and mask {there.shape}; expected equal shapes (..., n)."
        )
    if not (np.isfinite(s[there]).all() and np.isfinite(y[there]).all() and (y[there] >= 0).all()):
        raise InputError(
            "ndcg() got scores or relevance that are not finite, or negative relevance. Mask what is missing."
        )
    n = s.shape[-1]
    gains = np.where(there, np.exp2(np.where(there, y, 0.0)) - 1.0 if gain == "exponential" else y, 0.0)
    discounts = 1.0 / np.log2(2.0 + np.arange(n))
    discounts[n if k is None else k :] = 0.0
    order = np.argsort(np.where(there, -s, np.inf), axis=-1, kind="stable")
    placed = np.take_along_axis(gains, order, -1)
    if ties == "average":
        placed = _shared_gains(np.take_along_axis(np.where(there, s, -np.inf), order, -1), placed)
    ideal = (-np.sort(-gains, axis=-1)) @ discounts
    return np.asarray(np.divide(placed @ discounts, ideal, out=np.zeros_like(ideal), where=ideal > 0))


def _shared_gains(ordered: Floats, gains: Floats) -> Floats:
    """Give every place the mean gain of the places with the same score."""
    flat, out = ordered.reshape(-1, ordered.shape[-1]), gains.reshape(-1, gains.shape[-1]).copy()
    for row, values in zip(out, flat, strict=True):
        _, group = np.unique(-values, return_inverse=True)
        row[:] = (np.bincount(group, row) / np.bincount(group))[group]
    return out.reshape(gains.shape)
