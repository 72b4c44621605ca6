"""Decision forests: trained soft, shipped hard. Names are imported when they are used, so that artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Forest": "hardgrad.trees.forest",
    "ForestBuilder": "hardgrad.trees.forest_build",
    "forest_from_trees": "hardgrad.trees.forest_build",
    "MetaTreeClassifier": "hardgrad.trees.meta_tree",
    "MetaTreeWeights": "hardgrad.trees.meta_tree_weights",
    "SoftForest": "hardgrad.trees.soft_forest",
    "SoftForestClassifier": "hardgrad.trees.estimators",
    "SoftForestRegressor": "hardgrad.trees.estimators",
    "train_meta_tree": "hardgrad.trees.meta_tree_training",
    "import_forest": "hardgrad.trees.importers",
    "compress": "hardgrad.trees.compression",
    "explain": "hardgrad.trees.explanation",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
