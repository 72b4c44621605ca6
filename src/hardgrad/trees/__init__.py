"""Decision forests: trained soft, shipped hard. Names are imported when they are used, so that artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "BranchTree": "hardgrad.trees.branch_tree",
    "DecayChoice": "hardgrad.trees.multipath",
    "Forest": "hardgrad.trees.forest",
    "ForestBuilder": "hardgrad.trees.forest_build",
    "forest_from_trees": "hardgrad.trees.forest_build",
    "HybridNeighbourhood": "hardgrad.trees.hybrid_neighbourhood",
    "ID3Tree": "hardgrad.trees.multipath",
    "MatchingNeighbourhood": "hardgrad.trees.matching_neighbourhood",
    "MetaTreeClassifier": "hardgrad.trees.meta_tree",
    "MetaTreeWeights": "hardgrad.trees.meta_tree_weights",
    "MultiPathTreePredictor": "hardgrad.trees.multipath",
    "NearestNeighbourhoodClassifier": "hardgrad.trees.neighbourhood_estimators",
    "NearestNeighbourhoodRegressor": "hardgrad.trees.neighbourhood_estimators",
    "SoftForest": "hardgrad.trees.soft_forest",
    "SoftForestClassifier": "hardgrad.trees.estimators",
    "SoftForestRegressor": "hardgrad.trees.estimators",
    "train_meta_tree": "hardgrad.trees.meta_tree_training",
    "hybrid_switch": "hardgrad.trees.hybrid_neighbourhood",
    "tune_decay": "hardgrad.trees.multipath",
    "import_forest": "hardgrad.trees.importers",
    "compress": "hardgrad.trees.compression",
    "explain": "hardgrad.trees.explanation",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
