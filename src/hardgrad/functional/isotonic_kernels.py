"""Pool adjacent violators on the rows of arrays, compiled by numba where that is installed. Imported late; never imports torch.

A row is cut into blocks, each of which has one value, so that the values do not rise. Blocks are told by `start`: for every position, where
its block begins. Totals are kept in double precision whatever the rows hold.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.kernels import kernel

Rows = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel
def _fit_row(z: Floats, w: Floats, start: Ints, fit: Floats, total: Floats) -> None:
    """Fill `fit` with the non-increasing least-squares fit of z - w, and `start`; `total` is scratch."""
    n = len(z)
    top = -1
    first = start  # a stack of blocks is never longer than what was read, so the result can hold it
    for i in range(n):
        value = z[i] - w[i]
        pooled, begin = value, i
        while top >= 0 and fit[top] < value:
            pooled += total[top]
            begin = first[top]
            value = pooled / (i + 1 - begin)
            top -= 1
        top += 1
        first[top], fit[top], total[top] = begin, value, pooled
    end = n
    for block in range(top, -1, -1):
        begin, value = first[block], fit[block]
        for i in range(begin, end):
            start[i] = begin
            fit[i] = value
        end = begin


@kernel
def _log_sum(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b)) without overflow."""
    high, low = (a, b) if a > b else (b, a)
    return high + math.log1p(math.exp(low - high))


@kernel
def _entropic_row(z: Floats, w: Floats, start: Ints, log_z: Floats, log_w: Floats) -> None:
    """Fill `start` for blocks whose value is logsumexp(z) - logsumexp(w), and the two terms of each block, one block after the other."""
    n = len(z)
    top = -1
    first = start
    for i in range(n):
        lz, lw, begin = z[i], w[i], i
        while top >= 0 and log_z[top] - log_w[top] < lz - lw:
            lz = _log_sum(lz, log_z[top])
            lw = _log_sum(lw, log_w[top])
            begin = first[top]
            top -= 1
        top += 1
        first[top], log_z[top], log_w[top] = begin, lz, lw
    end = n
    for block in range(top, -1, -1):
        begin = first[block]
        for i in range(begin, end):
            start[i] = begin
        end = begin


@kernel
def _entropic_rank_row(
    z: Floats, log_w: Floats, start: Ints, value: Floats, total: Floats, places: Floats
) -> None:
    """Fill `start` for w = n, ..., 1, and for each block the sum of exp(z - its first) and that of w; `value` is scratch."""
    n = len(z)
    top = -1
    first = start
    for i in range(n):
        v, parts, w, begin = z[i] - log_w[i], 1.0, float(n - i), i
        while top >= 0 and value[top] < v:
            parts = total[top] + parts * math.exp(z[begin] - z[first[top]])
            w += places[top]
            begin = first[top]
            v = z[begin] + math.log(parts / w)
            top -= 1
        top += 1
        first[top], value[top], total[top], places[top] = begin, v, parts, w
    end = n
    for block in range(top, -1, -1):
        begin = first[block]
        for i in range(begin, end):
            start[i] = begin
        end = begin


@kernel
def find_blocks(z: Rows, w: Rows, entropic: bool, start: Ints) -> None:
    """Fill `start` for the fit of z - w, by least squares or in the Kullback-Leibler sense."""
    rows, n = z.shape
    left, right, fit, total = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for r in range(rows):
        left[:] = z[r]
        right[:] = w[r]
        if entropic:
            _entropic_row(left, right, start[r], fit, total)
        else:
            _fit_row(left, right, start[r], fit, total)


@kernel
def rank_rows(x: Rows, order: Ints, temperature: float, ranks: Rows, start: Ints) -> None:
    """Fill `ranks` with the projection of x / temperature onto the permutahedron of 1..n; `order` puts x in descending order."""
    rows, n = x.shape
    z, w, fit, total = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for r in range(rows):
        for i in range(
            n
        ):  # ranks do not change with the level of x, and differences keep digits that a large level would cost
            z[i] = (np.float64(x[r, order[r, i]]) - np.float64(x[r, order[r, 0]])) / temperature
            w[i] = n - i
        _fit_row(z, w, start[r], fit, total)
        for i in range(n):
            alone = start[r, i] == i and (i == n - 1 or start[r, i + 1] > i)
            ranks[r, order[r, i]] = w[i] if alone else z[i] - fit[i]


@kernel
def sort_rows(z: Rows, x: Rows, order: Ints, values: Rows, start: Ints) -> None:
    """Fill `values` with the projection of z onto the permutahedron of x, both in descending order; z has one row or as many as x."""
    rows, n = x.shape
    left, right, fit, total = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for r in range(rows):
        left[:] = z[r if len(z) > 1 else 0]
        for i in range(n):
            right[i] = x[r, order[r, i]]
        _fit_row(left, right, start[r], fit, total)
        for i in range(n):
            alone = start[r, i] == i and (i == n - 1 or start[r, i + 1] > i)
            values[r, i] = right[i] if alone else left[i] - fit[i]


@kernel
def sort_entropic_rows(z: Rows, x: Rows, order: Ints, values: Rows, start: Ints) -> None:
    """Fill `values` as `sort_rows` does, with the projection in the Kullback-Leibler sense."""
    rows, n = x.shape
    left, right, log_z, log_w = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for r in range(rows):
        left[:] = z[r if len(z) > 1 else 0]
        for i in range(n):
            right[i] = x[r, order[r, i]]
        _entropic_row(left, right, start[r], log_z, log_w)
        block = -1
        for i in range(n):
            block += start[r, i] == i
            alone = start[r, i] == i and (i == n - 1 or start[r, i + 1] > i)
            values[r, i] = right[i] if alone else left[i] - log_z[block] + log_w[block]


@kernel
def rank_entropic_rows(x: Rows, order: Ints, temperature: float, ranks: Rows, start: Ints) -> None:
    """Fill `ranks` as `rank_rows` does, with the projection in the Kullback-Leibler sense."""
    rows, n = x.shape
    z, value, total, places = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    log_w = np.log(np.arange(n, 0, -1))
    for r in range(rows):
        for i in range(n):
            z[i] = (np.float64(x[r, order[r, i]]) - np.float64(x[r, order[r, 0]])) / temperature
        _entropic_rank_row(z, log_w, start[r], value, total, places)
        block = -1
        for i in range(n):
            begin = start[r, i]
            block += begin == i
            part = 1.0 if begin == i else math.exp(z[i] - z[begin])
            ranks[r, order[r, i]] = part / total[block] * places[block]


@kernel
def pool_rows(y: Rows, start: Ints, mean: bool, out: Rows) -> None:
    """Fill every position of `out` with the sum, or the mean, of y over its block."""
    rows, n = y.shape
    for r in range(rows):
        end = n
        while end > 0:
            begin = start[r, end - 1]
            total = 0.0
            for i in range(begin, end):
                total += y[r, i]
            if mean:
                total /= end - begin
            for i in range(begin, end):
                out[r, i] = total
            end = begin


@kernel
def centre_rows(y: Rows, order: Ints, start: Ints, out: Rows) -> None:
    """Fill `out` with y less its mean over each block, where blocks are of the positions `order` of y."""
    rows, n = y.shape
    for r in range(rows):
        end = n
        while end > 0:
            begin = start[r, end - 1]
            total = 0.0
            for i in range(begin, end):
                total += y[r, order[r, i]]
            for i in range(begin, end):
                out[r, order[r, i]] = y[r, order[r, i]] - total / (end - begin)
            end = begin


@kernel
def share_rows(y: Rows, x: Rows, order: Ints, start: Ints, out: Rows) -> None:
    """Fill `out` with the sum of y over each block, shared out as the softmax of x; blocks are of the positions `order` of x."""
    rows, n = y.shape
    parts = np.empty(n)
    for r in range(rows):
        end = n
        while end > 0:
            begin = start[r, end - 1]
            top = np.float64(x[r, order[r, begin]])
            total, whole = 0.0, 0.0
            for i in range(begin, end):
                parts[i] = 1.0 if i == begin else math.exp(x[r, order[r, i]] - top)
                total += y[r, i]
                whole += parts[i]
            for i in range(begin, end):
                out[r, order[r, i]] = total * (parts[i] / whole)
            end = begin


@kernel
def centre_entropic_rows(y: Rows, x: Rows, order: Ints, start: Ints, temperature: float, out: Rows) -> None:
    """Fill `out` with the derivative of `rank_entropic_rows` times y: over each block y less its mean, both by the softmax of x."""
    rows, n = y.shape
    parts = np.empty(n)
    for r in range(rows):
        end = n
        while end > 0:
            begin = start[r, end - 1]
            top = np.float64(x[r, order[r, begin]])
            mean, whole = 0.0, 0.0
            for i in range(begin, end):
                parts[i] = 1.0 if i == begin else math.exp((x[r, order[r, i]] - top) / temperature)
                mean += parts[i] * y[r, order[r, i]]
                whole += parts[i]
            mean /= whole
            places = (end - begin) * (2 * n + 1 - begin - end) / 2
            for i in range(begin, end):
                out[r, order[r, i]] = places * (parts[i] / whole) * (y[r, order[r, i]] - mean) / temperature
            end = begin
