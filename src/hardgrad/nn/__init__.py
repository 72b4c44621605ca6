"""Layers with a soft and a hard side, and layers that save memory. Names are imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "EntropyNet": "hardgrad.nn.entropy",
    "EntropyRegularizedAttention": "hardgrad.nn.entropy",
    "PiecewiseLinear": "hardgrad.nn.activations",
    "SAU": "hardgrad.nn.activations",
    "SmoothedActivation": "hardgrad.nn.activations",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
