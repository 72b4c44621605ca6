"""How gradients pass through what is discrete, and what is wrong with them: estimators, proximal steps, diagnostics. Imported lazily."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Proximal": "hardgrad.gradients.proximal",
    "combined": "hardgrad.gradients.evolution",
    "evolution_strategies": "hardgrad.gradients.evolution",
    "truncated_unroll": "hardgrad.gradients.evolution",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
