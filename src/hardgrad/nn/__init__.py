"""Modules with discrete or economical insides, used like any other torch module. Imported lazily."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "save_memory": "hardgrad.nn.memory_saving.convert",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
