"""Discrete operations on tensors under torch's own names, soft and hard. Names are imported when they are used.

No module here is called like a public name: importing it would put the module in the place of the function.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "KINDS": "hardgrad.functional.soft_steps",
    "Selection": "hardgrad.functional.results",
    "argmax": "hardgrad.functional.choices",
    "argmin": "hardgrad.functional.choices",
    "argsort": "hardgrad.functional.orders",
    "black_box": "hardgrad.functional.solvers",
    "choice": "hardgrad.functional.choices",
    "entmax": "hardgrad.functional.simplex",
    "fenchel_young_loss": "hardgrad.functional.solvers",
    "gap": "hardgrad.functional.measured_gap",
    "gather": "hardgrad.functional.lookup",
    "greater": "hardgrad.functional.comparisons",
    "gumbel_sinkhorn": "hardgrad.functional.transport",
    "index_select": "hardgrad.functional.lookup",
    "isotonic_regression": "hardgrad.functional.isotonic",
    "kthvalue": "hardgrad.functional.orders",
    "matching": "hardgrad.functional.transport",
    "max": "hardgrad.functional.choices",
    "median": "hardgrad.functional.quantiles",
    "min": "hardgrad.functional.choices",
    "narrow": "hardgrad.functional.lookup",
    "quantile": "hardgrad.functional.quantiles",
    "rank": "hardgrad.functional.orders",
    "scatter": "hardgrad.functional.lookup",
    "sign": "hardgrad.functional.comparisons",
    "soft_relu": "hardgrad.functional.soft_steps",
    "soft_step": "hardgrad.functional.soft_steps",
    "softmax": "hardgrad.functional.simplex",
    "softening_error": "hardgrad.functional.measured_gap",
    "sort": "hardgrad.functional.selection",
    "sparsemax": "hardgrad.functional.simplex",
    "swap_error_bound": "hardgrad.functional.soft_steps",
    "take": "hardgrad.functional.lookup",
    "take_along_dim": "hardgrad.functional.lookup",
    "topk": "hardgrad.functional.orders",
    "where": "hardgrad.functional.lookup",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
