"""Discrete operations on tensors under torch's own names, soft and hard. Names are imported when they are used.

No module here is called like a public name: importing it would put the module in the place of the function.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Histogram": "hardgrad.functional.counting",
    "KINDS": "hardgrad.functional.soft_steps",
    "SURROGATES": "hardgrad.functional.binary",
    "Selection": "hardgrad.functional.results",
    "Surrogate": "hardgrad.functional.binary",
    "abs": "hardgrad.functional.piecewise",
    "all": "hardgrad.functional.logical",
    "any": "hardgrad.functional.logical",
    "argmax": "hardgrad.functional.choices",
    "argmin": "hardgrad.functional.choices",
    "argsort": "hardgrad.functional.orders",
    "argwhere": "hardgrad.functional.exact_only",
    "binary_sign": "hardgrad.functional.binary",
    "binary_step": "hardgrad.functional.binary",
    "binary_surrogate": "hardgrad.functional.binary",
    "bincount": "hardgrad.functional.exact_only",
    "black_box": "hardgrad.functional.solvers",
    "bucketize": "hardgrad.functional.counting",
    "ceil": "hardgrad.functional.rounding",
    "choice": "hardgrad.functional.choices",
    "clamp": "hardgrad.functional.piecewise",
    "cumall": "hardgrad.functional.logical",
    "cumany": "hardgrad.functional.logical",
    "entmax": "hardgrad.functional.simplex",
    "eq": "hardgrad.functional.comparisons",
    "fenchel_young_loss": "hardgrad.functional.solvers",
    "first_true": "hardgrad.functional.logical",
    "floor": "hardgrad.functional.rounding",
    "gap": "hardgrad.functional.measured_gap",
    "gather": "hardgrad.functional.lookup",
    "greater": "hardgrad.functional.comparisons",
    "greater_equal": "hardgrad.functional.comparisons",
    "gumbel_sinkhorn": "hardgrad.functional.transport",
    "hardtanh": "hardgrad.functional.piecewise",
    "heaviside": "hardgrad.functional.piecewise",
    "histogram": "hardgrad.functional.counting",
    "index_select": "hardgrad.functional.lookup",
    "isclose": "hardgrad.functional.comparisons",
    "isotonic_regression": "hardgrad.functional.isotonic",
    "kthvalue": "hardgrad.functional.orders",
    "less": "hardgrad.functional.comparisons",
    "less_equal": "hardgrad.functional.comparisons",
    "logical_and": "hardgrad.functional.logical",
    "logical_not": "hardgrad.functional.logical",
    "logical_or": "hardgrad.functional.logical",
    "logical_xor": "hardgrad.functional.logical",
    "matching": "hardgrad.functional.transport",
    "max": "hardgrad.functional.choices",
    "median": "hardgrad.functional.quantiles",
    "min": "hardgrad.functional.choices",
    "narrow": "hardgrad.functional.lookup",
    "ne": "hardgrad.functional.comparisons",
    "nearest": "hardgrad.functional.counting",
    "nonzero": "hardgrad.functional.exact_only",
    "piecewise_linear": "hardgrad.functional.smoothed",
    "quantile": "hardgrad.functional.quantiles",
    "rank": "hardgrad.functional.orders",
    "relu": "hardgrad.functional.piecewise",
    "remainder": "hardgrad.functional.rounding",
    "round": "hardgrad.functional.rounding",
    "sau": "hardgrad.functional.smoothed",
    "scatter": "hardgrad.functional.lookup",
    "sign": "hardgrad.functional.piecewise",
    "soft_equal": "hardgrad.functional.soft_steps",
    "soft_relu": "hardgrad.functional.soft_steps",
    "soft_step": "hardgrad.functional.soft_steps",
    "softening_error": "hardgrad.functional.measured_gap",
    "softmax": "hardgrad.functional.simplex",
    "sort": "hardgrad.functional.selection",
    "sparsemax": "hardgrad.functional.simplex",
    "swap_error_bound": "hardgrad.functional.soft_steps",
    "take": "hardgrad.functional.lookup",
    "take_along_dim": "hardgrad.functional.lookup",
    "topk": "hardgrad.functional.orders",
    "topk_weights": "hardgrad.functional.subset_weights",
    "unique_count": "hardgrad.functional.counting",
    "where": "hardgrad.functional.lookup",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
