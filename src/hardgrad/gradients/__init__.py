"""Gradients where there are none: through samples, solvers and fixed points, and what is wrong with those there are.

Names are imported when they are used. No module here is called like a public name.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "HyperGradient": "hardgrad.gradients.hypergradients",
    "ImplicitFunction": "hardgrad.gradients.implicit",
    "ImplicitReport": "hardgrad.gradients.implicit",
    "LinearSolution": "hardgrad.gradients.linear_solvers",
    "Proximal": "hardgrad.gradients.proximal",
    "combined": "hardgrad.gradients.evolution",
    "evolution_strategies": "hardgrad.gradients.evolution",
    "hypergradient": "hardgrad.gradients.hypergradients",
    "implicit_fixed_point": "hardgrad.gradients.implicit",
    "implicit_root": "hardgrad.gradients.implicit",
    "linear_solve": "hardgrad.gradients.linear_solvers",
    "truncated_unroll": "hardgrad.gradients.evolution",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
