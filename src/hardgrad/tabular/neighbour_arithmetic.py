"""Arithmetic of exact neighbourhoods in a fixed order: the same bits for one row as for a thousand, and in C as in NumPy. No torch.

Matrix products and the exponentials of libraries round differently from one batch size, processor and language to the next. Nearest
neighbours turn such last bits into other neighbours, so what decides is computed here: IEEE operations only, sums from first to last.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = (
    0.6931471803691238,
    1.9082149292705877e-10,
)  # the first has zeros at its end: whole multiples of it are exact
LEAST_EXPONENT = -745.0  # below this exp is 0
TWO_PI = 6.283185307179586
BLOCK = 128
MARGIN = 16
INDICES = ("auto", "brute", "kd_tree")
MOST_DISTANCES = 1 << 24  # in memory at a time


def factorials(first: int, count: int, step: int) -> list[float]:
    """Return 1/first!, 1/(first + step)!, ...: the coefficients of the power series."""
    found, value = [], 1.0
    for n in range(1, first + step * count):
        if n > 1:
            value *= n
        if n >= first and (n - first) % step == 0:
            found.append(1.0 / value)
    return found


EXPONENTIAL = [1.0, *factorials(1, 13, 1)]
SINE = [sign * c for sign, c in zip([1.0, -1.0] * 4, factorials(1, 8, 2), strict=True)]
COSINE = [1.0, *(sign * c for sign, c in zip([-1.0, 1.0] * 4, factorials(2, 8, 2), strict=True))]


def _series(coefficients: list[float], x: Floats) -> Floats:
    result = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result *= x
        result += coefficient
    return result


def exponential(x: Floats) -> Floats:
    """Return exp(x) of numbers that are not positive, to about a unit in the last place.

    >>> float(abs(exponential(np.array([-1.0]))[0] - np.exp(-1.0))) < 1e-16
    True
    """
    x = np.maximum(x, LEAST_EXPONENT)
    n = np.rint(x * LOG2_E)
    rest = (x - n * LN2_HIGH) - n * LN2_LOW
    return np.asarray(np.ldexp(_series(EXPONENTIAL, rest), n.astype(np.int32)))


def turns(x: Floats) -> tuple[Floats, Floats]:
    """Return cos(2 pi x) and sin(2 pi x).

    >>> [round(float(v[0]), 12) + 0.0 for v in turns(np.array([1.25]))]
    [0.0, 1.0]
    """
    fraction = x - np.rint(x)
    size = np.abs(fraction)
    quarter = np.rint(4.0 * size)
    angle = TWO_PI * (size - 0.25 * quarter)
    square = angle * angle
    sine, cosine = angle * _series(SINE, square), _series(COSINE, square)
    cos = np.where(quarter == 1.0, -sine, np.where(quarter == 2.0, -cosine, cosine))
    sin = np.where(quarter == 1.0, cosine, np.where(quarter == 2.0, -sine, sine))
    return cos, np.where(fraction < 0, -sin, sin)


def linear(x: Floats, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Floats:
    """Return x W + b, [n, outputs], summed from the first input to the last.

    Parameters
    ----------
    x : [n, inputs].
    weight : float32 [inputs, outputs].
    bias : float32 [outputs].
    """
    wide = weight.astype(np.float64)
    result = np.tile(bias.astype(np.float64), (len(x), 1))
    for start in range(0, len(x), BLOCK):
        out = result[start : start + BLOCK]
        term = np.empty_like(out)
        columns = np.ascontiguousarray(x[start : start + BLOCK].T)
        for column, row in zip(columns, wide, strict=True):
            np.multiply(column[:, None], row, out=term)
            out += term
    return result


def squared_distances(queries: Floats, rows: Floats) -> Floats:
    """Return squared Euclidean distances [n, m] of queries [n, dim] to rows [n or 1, m, dim], summed from the first dimension on."""
    result = np.zeros((len(queries), rows.shape[1]))
    for j in range(queries.shape[1]):
        difference = queries[:, j, None] - rows[:, :, j]
        result += difference * difference
    return result


# --- the index ----------------------------------------------------------------------------------------------------------------------------
class NeighbourIndex:
    """Finds the k rows nearest to each query exactly: by squared distance as `squared_distances` gives it, then by number.

    Candidates come from one matrix product or from a KD-tree, both of which round; they are taken with a margin, and their distances are
    computed anew. Where rounding could have hidden a neighbour behind the margin, all distances of that query are.

    Parameters
    ----------
    rows : [m, dim], finite.
    kind : "brute" (any dimension), "kd_tree" (few dimensions, many rows), or "auto".

    Examples
    --------
    >>> NeighbourIndex(np.array([[0.0], [2.0], [1.0]])).query(np.array([[1.6]]), 2)[0].tolist()
    [[1, 2]]
    """

    def __init__(self, rows: Floats, kind: str = "auto") -> None:
        if kind not in INDICES:
            raise ParameterError(f"got index={kind!r}; expected one of {', '.join(INDICES)}.")
        self.rows = np.ascontiguousarray(rows, dtype=np.float64)
        self.kind = (
            ("kd_tree" if rows.shape[1] <= 8 and len(rows) >= 1000 else "brute") if kind == "auto" else kind
        )
        self.norms = (self.rows**2).sum(axis=1)
        if self.kind == "kd_tree":
            from scipy.spatial import cKDTree

            self.tree = cKDTree(self.rows)

    def query(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """Return the numbers of the k nearest rows, nearest first, int64 [n, k], and their squared distances [n, k]."""
        number, found = np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k))
        block = max(1, min(BLOCK, MOST_DISTANCES // len(self.rows)))
        for start in range(0, len(queries), block):
            part = slice(start, start + block)
            number[part], found[part] = self._query_block(queries[part], k)
        return number, found

    def _query_block(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        m = len(self.rows)
        if k + MARGIN >= m:
            return _nearest(squared_distances(queries, self.rows[None]), np.arange(m)[None], k)
        candidates, rounded = self._candidates(queries, k + MARGIN)
        number, found = _nearest(squared_distances(queries, self.rows[candidates]), candidates, k)
        # What is not among the candidates is at least as far as the farthest of them, but for rounding.
        rounding = 8e-16 * (queries.shape[1] + 8) * ((queries**2).sum(axis=1) + self.norms.max())
        for i in np.flatnonzero(rounded.max(axis=1) - rounding <= found[:, -1]):
            everything = squared_distances(queries[i : i + 1], self.rows[None])
            number[i], found[i] = (part[0] for part in _nearest(everything, np.arange(m)[None], k))
        return number, found

    def _candidates(self, queries: Floats, count: int) -> tuple[Ints, Floats]:
        if self.kind == "kd_tree":
            distance, near = self.tree.query(queries, k=count)
            return np.asarray(near, dtype=np.int64), np.asarray(distance) ** 2
        rounded = (queries**2).sum(axis=1)[:, None] + self.norms - 2.0 * (queries @ self.rows.T)
        number = np.argpartition(rounded, count - 1, axis=1)[:, :count]
        return number, np.take_along_axis(rounded, number, axis=1)


def _nearest(squared: Floats, number: Ints, k: int) -> tuple[Ints, Floats]:
    number = np.broadcast_to(number, squared.shape)
    order = np.lexsort((number, squared), axis=-1)[:, :k]
    return np.take_along_axis(number, order, axis=1), np.take_along_axis(squared, order, axis=1)
