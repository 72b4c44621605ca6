"""Discrete operations on tensors under torch's own names, soft and hard. Names are imported when they are used.

No module here is called like a public name: importing it would put the module in the place of the function.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Histogram": "hardgrad.functional.counting",
    "KINDS": "hardgrad.functional.soft_steps",
    "Selection": "hardgrad.functional.results",
    "abs": "hardgrad.functional.piecewise",
    "all": "hardgrad.functional.logical",
    "any": "hardgrad.functional.logical",
    "argwhere": "hardgrad.functional.exact_only",
    "bincount": "hardgrad.functional.exact_only",
    "bucketize": "hardgrad.functional.counting",
    "ceil": "hardgrad.functional.rounding",
    "clamp": "hardgrad.functional.piecewise",
    "cumall": "hardgrad.functional.logical",
    "cumany": "hardgrad.functional.logical",
    "eq": "hardgrad.functional.comparisons",
    "first_true": "hardgrad.functional.logical",
    "floor": "hardgrad.functional.rounding",
    "gap": "hardgrad.functional.measured_gap",
    "greater": "hardgrad.functional.comparisons",
    "greater_equal": "hardgrad.functional.comparisons",
    "hardtanh": "hardgrad.functional.piecewise",
    "heaviside": "hardgrad.functional.piecewise",
    "histogram": "hardgrad.functional.counting",
    "isclose": "hardgrad.functional.comparisons",
    "less": "hardgrad.functional.comparisons",
    "less_equal": "hardgrad.functional.comparisons",
    "logical_and": "hardgrad.functional.logical",
    "logical_not": "hardgrad.functional.logical",
    "logical_or": "hardgrad.functional.logical",
    "logical_xor": "hardgrad.functional.logical",
    "ne": "hardgrad.functional.comparisons",
    "nearest": "hardgrad.functional.counting",
    "nonzero": "hardgrad.functional.exact_only",
    "piecewise_linear": "hardgrad.functional.smoothed",
    "relu": "hardgrad.functional.piecewise",
    "remainder": "hardgrad.functional.rounding",
    "round": "hardgrad.functional.rounding",
    "sau": "hardgrad.functional.smoothed",
    "sign": "hardgrad.functional.piecewise",
    "soft_equal": "hardgrad.functional.soft_steps",
    "soft_relu": "hardgrad.functional.soft_steps",
    "soft_step": "hardgrad.functional.soft_steps",
    "sort": "hardgrad.functional.selection",
    "swap_error_bound": "hardgrad.functional.soft_steps",
    "unique_count": "hardgrad.functional.counting",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
