"""Metrics as losses, each beside its exact counterpart. Names are imported when they are used; `exact` needs no torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ApproxNDCGLoss": "hardgrad.losses.ranking",
    "ConfusionCounts": "hardgrad.losses.confusion_counts",
    "ConfusionMetricLoss": "hardgrad.losses.confusion",
    "HardPermutationLoss": "hardgrad.losses.permutation",
    "LambdaLoss": "hardgrad.losses.ranking",
    "ListNetLoss": "hardgrad.losses.ranking",
    "NeuralNDCGLoss": "hardgrad.losses.ranking",
    "PermutationBCE": "hardgrad.losses.permutation",
    "RankNetLoss": "hardgrad.losses.ranking",
    "permutation_target": "hardgrad.losses.permutation",
    "range_entropy": "hardgrad.losses.entropies",
    "run_entropy": "hardgrad.losses.entropies",
    "soft_confusion": "hardgrad.losses.confusion",
    "tune_threshold": "hardgrad.losses.confusion_counts",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
