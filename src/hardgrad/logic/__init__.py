"""Circuits of gates: trained soft, shipped hard. Names are imported when they are used, so that artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Circuit": "hardgrad.logic.circuit",
    "CircuitModel": "hardgrad.logic.circuit_model",
    "CircuitRuntime": "hardgrad.logic.runtime",
    "EquivalenceResult": "hardgrad.logic.proving",
    "Gate": "hardgrad.logic.gate_ids",
    "NetworkBuilder": "hardgrad.logic.circuit_build",
    "equivalence": "hardgrad.logic.proving",
    "gate_of_word": "hardgrad.logic.gate_ids",
    "lut_word": "hardgrad.logic.gate_ids",
    "prepare": "hardgrad.logic.runtime",
    "simplify": "hardgrad.logic.simplification",
    "truth_rows": "hardgrad.logic.gate_ids",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
