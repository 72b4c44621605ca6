"""Decision forests: trained soft, shipped hard. Names are imported when they are used, so that artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Forest": "hardgrad.trees.forest",
    "ForestBuilder": "hardgrad.trees.forest_build",
    "forest_from_trees": "hardgrad.trees.forest_build",
    "SoftForest": "hardgrad.trees.soft_forest",
    "SoftForestClassifier": "hardgrad.trees.estimators",
    "SoftForestRegressor": "hardgrad.trees.estimators",
    "import_forest": "hardgrad.trees.importers",
    "compress": "hardgrad.trees.compression",
    "explain": "hardgrad.trees.explanation",
    "ForestAlignment": "hardgrad.trees.alignment",
    "InterpolationBarrier": "hardgrad.trees.interpolation",
    "interpolate": "hardgrad.trees.alignment",
    "interpolation_barrier": "hardgrad.trees.interpolation",
    "match_forests": "hardgrad.trees.alignment",
    "merge_forests": "hardgrad.trees.alignment",
    "SmoothingReport": "hardgrad.trees.smoothing",
    "SmoothingRule": "hardgrad.trees.smoothing_rules",
    "effective_parameter_penalty": "hardgrad.trees.soft_smoothing",
    "effective_parameters": "hardgrad.trees.smoothing_matrices",
    "smoother_matrix": "hardgrad.trees.smoothing",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
