"""Gradients through what has none of its own: solutions of equations, hyperparameters. Names are imported when they are used.

No module here is called like a public name: importing it would put the module in the place of the function.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "HyperGradient": "hardgrad.gradients.hypergradients",
    "ImplicitFunction": "hardgrad.gradients.implicit",
    "ImplicitReport": "hardgrad.gradients.implicit",
    "LinearSolution": "hardgrad.gradients.linear_solvers",
    "hypergradient": "hardgrad.gradients.hypergradients",
    "implicit_fixed_point": "hardgrad.gradients.implicit",
    "implicit_root": "hardgrad.gradients.implicit",
    "linear_solve": "hardgrad.gradients.linear_solvers",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
