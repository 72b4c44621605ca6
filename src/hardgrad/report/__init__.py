"""Pages and pictures: what a trained model is, on one page. Names are imported when they are used; never imports torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ReportContext": "hardgrad.report.context",
    "write_report": "hardgrad.report.page",
    "render_report": "hardgrad.report.page",
    "Importance": "hardgrad.report.importance",
    "permutation_importance": "hardgrad.report.importance",
    "count_node_rows": "hardgrad.report.measures",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
