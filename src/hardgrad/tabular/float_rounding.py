"""Thresholds between float32 and float64: which double decides as a float does, and the other way round. NumPy only.

XGBoost and scikit-learn compare floats, a `Forest` doubles, some ONNX runtimes floats again; each passage keeps every decision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def largest_double_below_float(threshold: Any) -> Floats:
    """Return, for float32 thresholds t, the largest double d whose nearest float32 is < t: `float32(x) < t` is `x <= d` for doubles.

    Rounding is to nearest, ties to even, as the cast in C and NumPy does. `t = -inf` has no such d; the result is -inf there.

    >>> d = float(largest_double_below_float(np.float32(1.0)))
    >>> bool(np.float32(d) < 1), bool(np.float32(np.nextafter(d, 2)) < 1)
    (True, False)
    """
    upper = np.asarray(threshold, dtype=np.float32)
    lower = np.nextafter(upper, np.float32(-np.inf))
    # The doubles that round to +inf start half a step above the largest float, as if 2**128 were a float.
    above = np.where(np.isposinf(upper), 2.0**128, upper.astype(np.float64))
    below = np.where(np.isneginf(lower), -(2.0**128), lower.astype(np.float64))
    middle = below + (above - below) / 2  # exact: neighbouring floats have few bits
    with np.errstate(over="ignore"):
        result = np.where(middle.astype(np.float32) < upper, middle, np.nextafter(middle, -np.inf))
    return np.where(np.isneginf(upper), -np.inf, result)


def largest_double_not_above(threshold: Any) -> Floats:
    """Return, for double thresholds t, the largest double d whose nearest float32 is <= t: `float32(x) <= t` is `x <= d`."""
    exact = np.asarray(threshold, dtype=np.float64)
    below = round_down_to_float32(exact)
    result = largest_double_below_float(np.nextafter(below, np.float32(np.inf)))
    return np.where(np.isposinf(exact), np.inf, result)


def round_down_to_float32(threshold: Any) -> NDArray[np.float32]:
    """Return the largest float32 that is <= t: `x <= t` is decided alike with it for every x that is a float32."""
    exact = np.asarray(threshold, dtype=np.float64)
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
    return np.where(near.astype(np.float64) > exact, np.nextafter(near, np.float32(-np.inf)), near)
