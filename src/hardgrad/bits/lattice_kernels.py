"""The closest point of a lattice, by enumeration inside a shrinking sphere. A loop for numba; never imports torch."""

from __future__ import annotations

import numpy as np

from hardgrad.core.kernels import kernel


@kernel
def sphere_decode(R: np.ndarray, Y: np.ndarray, low: float, high: float, Z: np.ndarray) -> None:
    """Fill each row of Z with whole numbers in [low, high] that minimise |R z - y|; R is upper triangular with a positive diagonal.

    Coordinates are chosen from the last to the first, each time the nearest that is left (Schnorr and Euchner): the first leaf is the
    nearest-plane point, and everything farther than the best leaf is cut off. The first of several equally near points wins.
    """
    n, d = Y.shape
    z, centre, below, above = np.zeros(d), np.zeros(d), np.zeros(d), np.zeros(d)
    spent = np.zeros(d + 1)  # squared distance that the coordinates from k on cost
    for i in range(n):
        best = np.inf
        k = d
        entering = True
        while True:
            if entering:
                k -= 1
                rest = Y[i, k]
                for j in range(k + 1, d):
                    rest -= R[k, j] * z[j]
                centre[k] = rest / R[k, k]
                below[k] = np.minimum(np.floor(centre[k]), high)
                above[k] = np.maximum(np.floor(centre[k]) + 1.0, low)
                entering = False
            cost = np.inf
            down_is_left, up_is_left = below[k] >= low, above[k] <= high
            if down_is_left and (not up_is_left or centre[k] - below[k] <= above[k] - centre[k]):
                z[k] = below[k]
                below[k] -= 1.0
                cost = spent[k + 1] + (R[k, k] * (centre[k] - z[k])) ** 2
            elif up_is_left:
                z[k] = above[k]
                above[k] += 1.0
                cost = spent[k + 1] + (R[k, k] * (centre[k] - z[k])) ** 2
            if cost >= best:
                k += 1
                if k == d:
                    break
            elif k > 0:
                spent[k] = cost
                entering = True
            else:
                best = cost
                Z[i] = z
