"""Tables of gates on columns of numbers, forward and backward: one pass where tensor operations would make twenty.

Numbers lie feature by feature, `X[feature, sample]`, so that a gate reads and writes rows. Sums over samples are made by blocks of 64, so
that they do not depend on how samples are shared among threads. Imported late, for large tensors on the CPU. Never imports torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.kernels import kernel

Rows = NDArray[Any]
BLOCK = 64
"""Samples whose share of a gradient is summed before it is added to that of others."""
WIDTH = 16
"""Sums kept side by side, which a processor adds at once."""


@kernel
def pair_forward(X: Rows, wires: Rows, tables: Rows, first: int, last: int, Y: Rows) -> None:
    """Fill columns `first` to `last` of Y `[gates, samples]` with the answers of gates of two inputs, `tables` `[gates, 4]`."""
    for gate in range(wires.shape[1]):
        t00, t01, t10, t11 = tables[gate, 0], tables[gate, 1], tables[gate, 2], tables[gate, 3]
        slope_a, slope_b, product = t10 - t00, t01 - t00, t00 - t01 - t10 + t11
        a, b = X[wires[0, gate], first:last], X[wires[1, gate], first:last]
        y = Y[gate, first:last]
        for n in range(last - first):
            y[n] = (t00 + slope_a * a[n]) + (slope_b + product * a[n]) * b[n]


@kernel
def pair_backward(
    X: Rows, wires: Rows, tables: Rows, G: Rows, first: int, last: int, inputs: bool, DX: Rows, DT: Rows
) -> None:
    """Add to columns of DX (where `inputs` says so) and set blocks of DT `[blocks, gates, 4]`, from the gradient G `[gates, samples]`."""
    sums = np.zeros((4, WIDTH), X.dtype)
    total = np.zeros(4, X.dtype)
    for gate in range(wires.shape[1]):
        t00, t01, t10, t11 = tables[gate, 0], tables[gate, 1], tables[gate, 2], tables[gate, 3]
        slope_a, slope_b, product = t10 - t00, t01 - t00, t00 - t01 - t10 + t11
        if inputs:
            a, b = X[wires[0, gate], first:last], X[wires[1, gate], first:last]
            g = G[gate, first:last]
            da = DX[wires[0, gate], first:last]
            for n in range(last - first):
                da[n] += g[n] * (slope_a + product * b[n])
            db = DX[wires[1, gate], first:last]
            for n in range(last - first):
                db[n] += g[n] * (slope_b + product * a[n])
        for low in range(first, last, BLOCK):
            high = min(low + BLOCK, last)
            a, b = X[wires[0, gate], low:high], X[wires[1, gate], low:high]
            g = G[gate, low:high]
            sums[:] = 0
            whole = (high - low) // WIDTH * WIDTH
            for n in range(0, whole, WIDTH):
                for j in range(WIDTH):
                    ga = g[n + j] * a[n + j]
                    sums[0, j] += g[n + j]
                    sums[1, j] += ga
                    sums[2, j] += g[n + j] * b[n + j]
                    sums[3, j] += ga * b[n + j]
            for n in range(whole, high - low):
                ga = g[n] * a[n]
                sums[0, n - whole] += g[n]
                sums[1, n - whole] += ga
                sums[2, n - whole] += g[n] * b[n]
                sums[3, n - whole] += ga * b[n]
            for i in range(4):
                total[i] = sums[i, 0]
                for j in range(1, WIDTH):
                    total[i] += sums[i, j]
            d = DT[low // BLOCK, gate]
            d[0] = total[0] - total[1] - total[2] + total[3]
            d[1] = total[2] - total[3]
            d[2] = total[1] - total[3]
            d[3] = total[3]


@kernel
def table_forward(X: Rows, wires: Rows, tables: Rows, first: int, last: int, Y: Rows) -> None:
    """Fill columns of Y with the answers of gates of any number of inputs: the table is halved by one input after another."""
    fan_in, half = wires.shape[0], tables.shape[1] // 2
    values = np.empty((half, BLOCK), X.dtype)
    for gate in range(wires.shape[1]):
        table = tables[gate]
        for low in range(first, last, BLOCK):
            count = min(BLOCK, last - low)
            a = X[wires[0, gate], low : low + count]
            for u in range(half):
                step = table[u + half] - table[u]
                for n in range(count):
                    values[u, n] = table[u] + a[n] * step
            rows = half
            for i in range(1, fan_in):
                rows //= 2
                a = X[wires[i, gate], low : low + count]
                for u in range(rows):
                    for n in range(count):
                        values[u, n] += a[n] * (values[u + rows, n] - values[u, n])
            for n in range(count):
                Y[gate, low + n] = values[0, n]


@kernel
def table_backward(
    X: Rows, wires: Rows, tables: Rows, G: Rows, first: int, last: int, inputs: bool, DX: Rows, DT: Rows
) -> None:
    """Do what `pair_backward` does, for gates of any number of inputs."""
    fan_in, half = wires.shape[0], tables.shape[1] // 2
    values = np.empty((2 * half, BLOCK), X.dtype)  # of the halvings: half rows, then a quarter, down to one
    slopes = np.empty((half, BLOCK), X.dtype)
    moved = np.empty(BLOCK, X.dtype)
    sums = np.zeros((2, WIDTH), X.dtype)
    for gate in range(wires.shape[1]):
        table = tables[gate]
        for low in range(first, last, BLOCK):
            count = min(BLOCK, last - low)
            a = X[wires[0, gate], low : low + count]
            for u in range(half):
                step = table[u + half] - table[u]
                for n in range(count):
                    values[u, n] = table[u] + a[n] * step
            start, rows = 0, half
            for i in range(1, fan_in):
                a = X[wires[i, gate], low : low + count]
                after, rows = start + rows, rows // 2
                for u in range(rows):
                    for n in range(count):
                        left, right = values[start + u, n], values[start + u + rows, n]
                        values[after + u, n] = left + a[n] * (right - left)
                start = after
            for n in range(count):
                slopes[0, n] = G[gate, low + n]
            for i in range(fan_in - 1, 0, -1):
                a = X[wires[i, gate], low : low + count]
                start -= 2 * rows
                moved[:] = 0
                for u in range(rows - 1, -1, -1):
                    for n in range(count):
                        slope = slopes[u, n]
                        moved[n] += slope * (values[start + u + rows, n] - values[start + u, n])
                        slopes[u + rows, n] = slope * a[n]
                        slopes[u, n] = slope - slope * a[n]
                if inputs:
                    for n in range(count):
                        DX[wires[i, gate], low + n] += moved[n]
                rows *= 2
            a = X[wires[0, gate], low : low + count]
            moved[:] = 0
            for u in range(half):
                step = table[u + half] - table[u]
                for n in range(count):
                    moved[n] += slopes[u, n] * step
                sums[:] = 0
                for n in range(count):
                    sums[0, n % WIDTH] += slopes[u, n]
                    sums[1, n % WIDTH] += slopes[u, n] * a[n]
                for j in range(1, WIDTH):
                    sums[0, 0] += sums[0, j]
                    sums[1, 0] += sums[1, j]
                DT[low // BLOCK, gate, u] = sums[0, 0] - sums[1, 0]
                DT[low // BLOCK, gate, u + half] = sums[1, 0]
            if inputs:
                for n in range(count):
                    DX[wires[0, gate], low + n] += moved[n]
