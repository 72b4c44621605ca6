"""hardgrad: train soft, ship hard. Learn discrete structure with gradients and hand over an exact, discrete artifact.

Importing this package is cheap: torch, numba and the rest are imported by the names that need them, when they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

from hardgrad._members import declare as _declare

__version__ = "0.1.0"

_declare()

_HOMES = {
    "Artifact": "hardgrad.core.artifact",
    "GapReport": "hardgrad.core.gap",
    "HardgradError": "hardgrad.core.errors",
    "Relaxed": "hardgrad.core.relaxed",
    "Schedule": "hardgrad.core.schedule",
    "checks": "hardgrad.core.mode",
    "harden": "hardgrad.core.relaxed",
    "load": "hardgrad.core.artifact",
    "mode": "hardgrad.core.mode",
    "set_temperature": "hardgrad.core.relaxed",
    "straight_through": "hardgrad.core.relaxed",
    "temperature": "hardgrad.core.mode",
}
__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
