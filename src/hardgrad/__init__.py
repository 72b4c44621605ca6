"""hardgrad: train soft, ship hard. Learn discrete structure with gradients and hand over an exact, discrete artifact.

Importing this package is cheap: torch, numba and the rest are imported by the names that need them, when they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

from hardgrad._members import declare as _declare
from hardgrad.core.artifact import Artifact, load
from hardgrad.core.errors import HardgradError
from hardgrad.core.gap import GapReport
from hardgrad.core.mode import checks, mode, temperature
from hardgrad.core.schedule import Schedule

__version__ = "0.1.0"

_declare()

_LAZY = {
    "Relaxed": "hardgrad.core.relaxed",
    "harden": "hardgrad.core.relaxed",
    "set_temperature": "hardgrad.core.relaxed",
    "straight_through": "hardgrad.core.relaxed",
}
__all__ = [
    "Artifact",
    "GapReport",
    "HardgradError",
    "Relaxed",
    "Schedule",
    "__version__",
    "checks",
    "harden",
    "load",
    "mode",
    "set_temperature",
    "straight_through",
    "temperature",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
