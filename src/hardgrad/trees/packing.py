"""Packing: the grids that a forest with a byte budget lives on. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Packing:
    """The grids that a forest with a byte budget lives on: what its packed C form stores instead of doubles.

    Parameters
    ----------
    threshold_bits, leaf_bits : width of a code.
    features : features that have a grid; low, step : float32 and bfloat16 values, one a feature; threshold = low + step * code.
    leaf_step : float32 values, one an output; a leaf value is a whole multiple of it.
    missing_code : a missing value goes left iff the code of the threshold is at least this.
    has_missing : whether missing values were seen in training (else `missing_code` is not stored).
    weight_bits, sum_bits : width of a weight and of a threshold on a sum, for oblique nodes; 0 where there are none.
    sum_step : the threshold of an oblique node is a whole multiple of it.
    """

    threshold_bits: int
    leaf_bits: int
    features: tuple[int, ...]
    low: tuple[float, ...]
    step: tuple[float, ...]
    leaf_step: tuple[float, ...]
    missing_code: tuple[int, ...]
    has_missing: bool
    weight_bits: int = 0
    sum_bits: int = 0
    sum_step: int = 1
