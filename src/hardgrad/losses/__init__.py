"""Losses on relaxed discrete results, and their exact counterparts. Names are imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "HardPermutationLoss": "hardgrad.losses.permutation",
    "PermutationBCE": "hardgrad.losses.permutation",
    "permutation_target": "hardgrad.losses.permutation",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
