"""Decision forests: trained soft, shipped hard. Names are imported when they are used, so that artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "DistilledTreeClassifier": "hardgrad.trees.distillation",
    "Forest": "hardgrad.trees.forest",
    "ForestBuilder": "hardgrad.trees.forest_build",
    "forest_from_trees": "hardgrad.trees.forest_build",
    "MetaTreeClassifier": "hardgrad.trees.meta_tree",
    "MetaTreeWeights": "hardgrad.trees.meta_tree_weights",
    "TreeExplanation": "hardgrad.trees.soft_tree_exact",
    "SoftTree": "hardgrad.trees.soft_tree",
    "SoftForest": "hardgrad.trees.soft_forest",
    "SoftForestClassifier": "hardgrad.trees.estimators",
    "SoftForestRegressor": "hardgrad.trees.estimators",
    "TreeText": "hardgrad.trees.tree_text",
    "forest_from_texts": "hardgrad.trees.tree_text",
    "train_meta_tree": "hardgrad.trees.meta_tree_training",
    "OptimalTreeEnsemble": "hardgrad.trees.optimal_ensemble",
    "minimum_cuts": "hardgrad.trees.optimal_ensemble",
    "minimum_trees": "hardgrad.trees.optimal_ensemble",
    "cut_complexity": "hardgrad.trees.optimal_instance",
    "majority_gap": "hardgrad.trees.optimal_instance",
    "import_forest": "hardgrad.trees.importers",
    "compress": "hardgrad.trees.compression",
    "explain": "hardgrad.trees.explanation",
    "with_threshold": "hardgrad.trees.threshold",
    "MemoryForest": "hardgrad.trees.memory_forest",
    "MemoryForestClassifier": "hardgrad.trees.memory_estimator",
    "MemoryForestModel": "hardgrad.trees.memory_model",
    "ResponseMemory": "hardgrad.trees.response_memory",
    "RoutedExperts": "hardgrad.trees.routed_experts",
    "StreamingExpertClassifier": "hardgrad.trees.expert_stream",
    "ActiveRegion": "hardgrad.trees.activation_regions",
    "NetworkConversion": "hardgrad.trees.network_tree",
    "TooManyRegionsError": "hardgrad.core.errors",
    "active_region": "hardgrad.trees.activation_regions",
    "approximate_activation": "hardgrad.trees.network_tree",
    "convert_network": "hardgrad.trees.network_tree",
    "count_regions": "hardgrad.trees.activation_regions",
    "network_to_tree": "hardgrad.trees.network_tree",
    "plot_regions": "hardgrad.trees.activation_regions",
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
