"""Ask what is wrong with a gradient: each question is a function that returns a frozen report with a verdict, and prints nothing."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Report": "hardgrad.gradients.diagnostics.report",
    "SavedTensorReport": "hardgrad.gradients.diagnostics.saved_memory",
    "SavedTensorVerdict": "hardgrad.gradients.diagnostics.saved_memory",
    "saved_for_backward": "hardgrad.gradients.diagnostics.saved_memory",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
