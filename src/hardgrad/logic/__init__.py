"""Circuits of gates: trained soft, shipped hard. Names are imported when they are used, so that artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Gate": "hardgrad.logic.gate_ids",
    "gate_of_word": "hardgrad.logic.gate_ids",
    "lut_word": "hardgrad.logic.gate_ids",
    "truth_rows": "hardgrad.logic.gate_ids",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
