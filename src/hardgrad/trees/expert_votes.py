"""How experts with keys vote: cosines, the nearest keys, the weight of each vote; in training and when hard. Never imports torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SMALLEST = 1e-12  # below this a norm or a sum of votes is none


def represent(X: Array, projection: Array, offset: Array, shift: Array) -> Array:
    """Return z [n, d], what keys and experts see of rows X [n, F]: random features where there is an offset, less the shift."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((np.tanh(X @ projection.T + offset) if len(offset) else X) - shift)


def cosines(z: Array, keys: Array) -> Array:
    """Return the cosine of every row of z [n, d] with every key [M, d]; 0 where one of them is the origin."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        lengths = [np.linalg.norm(side, axis=1, keepdims=True) for side in (z, keys)]
        units = [
            np.where(length > SMALLEST, side / length, 0.0)
            for side, length in zip((z, keys), lengths, strict=True)
        ]
        return np.asarray(units[0] @ units[1].T)


def nearest(cosine: Array, k: int) -> Array:
    """Return 1.0 for the k largest cosines of each row and 0.0 for the others, [n, M]; of equal ones the first are taken."""
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    share = np.zeros_like(cosine)
    np.put_along_axis(share, order, 1.0, axis=1)
    return share


def vote_weights(share: Array, cosine: Array) -> Array:
    """Return how much each expert's vote counts, [n, M]: s (c s) / sum (c s) for shares s and cosines c.

    A negative cosine counts as 0; where none is positive, the experts that have a share count alike.
    """
    with np.errstate(invalid="ignore"):
        near = np.maximum(cosine * share, 0.0)
        total = near.sum(axis=1, keepdims=True)
        chosen = (share > 0).astype(np.float64)
        alike = chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1.0)
        return share * np.where(total > SMALLEST, near / np.where(total > SMALLEST, total, 1.0), alike)


def votes(z: Array, weights: Array, experts: NDArray[Any], scale: float, cap: float) -> Array:
    """Return the summed votes for each class, [n, C], of the experts that have a weight.

    Parameters
    ----------
    z : [n, d].
    weights : [n, M], 0 for an expert that is not asked.
    experts : [M, C, d]; the vote of expert m is cap * tanh(scale * experts[m] z / cap).
    """
    total = np.zeros((len(z), experts.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for m in range(len(experts)):
            rows = np.flatnonzero(weights[:, m])
            if len(rows):
                said = cap * np.tanh(z[rows] @ (scale / cap * experts[m]).T)
                total[rows] += weights[rows, m, None] * said
    return total
