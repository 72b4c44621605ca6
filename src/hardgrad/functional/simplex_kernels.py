"""Sparsemax and 1.5-entmax on the rows of arrays, and their derivative: one pass where tensor operations would make twenty.

Imported late, for large tensors on the CPU. Sums are kept in double precision whatever the rows hold. Never imports torch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.kernels import kernel

Rows = NDArray[Any]
MOST_STEPS = 100  # Newton's method takes about ten from where it starts


@kernel
def project_rows(scores: Rows, alpha: float, weights: Rows) -> None:
    """Fill `weights` with the projections of the rows of `scores`; alpha is 1.5 or 2.

    The threshold is found by Newton's method from the left: the sum of the weights is convex and falls, so that no step goes too far.
    """
    n = scores.shape[1]
    near = np.empty(n)
    place = np.empty(n, dtype=np.int64)
    for row in range(scores.shape[0]):
        z, p = scores[row], weights[row]
        largest = z[0]
        for i in range(1, n):
            largest = max(largest, z[i])
        count = 0
        for i in range(n):
            p[i] = 0.0
            shifted = (alpha - 1.0) * (float(z[i]) - float(largest))
            if shifted > -1.0:
                near[count] = shifted
                place[count] = i
                count += 1
        threshold = -1.0
        for _ in range(MOST_STEPS):
            total, slope = -1.0, 0.0
            for i in range(count):
                above = near[i] - threshold
                if above > 0.0:
                    total += above if alpha == 2.0 else above * above
                    slope += 1.0 if alpha == 2.0 else 2.0 * above
            step = total / slope
            threshold += step
            if step <= 1e-14:
                break
        for i in range(count):
            above = max(near[i] - threshold, 0.0)
            p[place[i]] = above if alpha == 2.0 else above * above


@kernel
def derive_rows(weights: Rows, direction: Rows, alpha: float, result: Rows) -> None:
    """Fill `result` with (diag(q) - q q^T / sum q) direction, row by row, where q = weights^(2 - alpha) on the support."""
    n = weights.shape[1]
    for row in range(weights.shape[0]):
        p, g, out = weights[row], direction[row], result[row]
        total, moved = 0.0, 0.0
        for i in range(n):
            if p[i] > 0.0:
                q = 1.0 if alpha == 2.0 else math.sqrt(p[i])
                total += q
                moved += q * g[i]
        mean = moved / total
        for i in range(n):
            if p[i] > 0.0:
                q = 1.0 if alpha == 2.0 else math.sqrt(p[i])
                out[i] = q * (g[i] - mean)
            else:
                out[i] = 0.0
