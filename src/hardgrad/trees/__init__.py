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
    "ActiveRegion": "hardgrad.trees.activation_regions",
    "NetworkConversion": "hardgrad.trees.network_tree",
    "TooManyRegionsError": "hardgrad.core.errors",
    "active_region": "hardgrad.trees.activation_regions",
    "approximate_activation": "hardgrad.trees.network_tree",
    "convert_network": "hardgrad.trees.network_tree",
    "count_regions": "hardgrad.trees.activation_regions",
    "network_to_tree": "hardgrad.trees.network_tree",
    "plot_regions": "hardgrad.trees.activation_regions",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
