"""Discrete operations on tensors under torch's own names, soft and hard. Names are imported when they are used.

No module here is called like a public name: importing it would put the module in the place of the function.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "KINDS": "hardgrad.functional.soft_steps",
    "Selection": "hardgrad.functional.results",
    "gap": "hardgrad.functional.measured_gap",
    "greater": "hardgrad.functional.comparisons",
    "sign": "hardgrad.functional.comparisons",
    "soft_relu": "hardgrad.functional.soft_steps",
    "soft_step": "hardgrad.functional.soft_steps",
    "softening_error": "hardgrad.functional.measured_gap",
    "sort": "hardgrad.functional.selection",
    "swap_error_bound": "hardgrad.functional.soft_steps",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
