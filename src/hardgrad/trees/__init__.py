"""Decision forests: trained soft, shipped hard. Names are imported when they are used, so that artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ActiveRegion": "hardgrad.trees.activation_regions",
    "BranchTree": "hardgrad.trees.branch_tree",
    "ChatEndpointProposer": "hardgrad.trees.chat_endpoint",
    "DecayChoice": "hardgrad.trees.multipath",
    "DistilledTreeClassifier": "hardgrad.trees.distillation",
    "EvolvedTreeClassifier": "hardgrad.trees.evolved_tree",
    "EvolvedTreeRegressor": "hardgrad.trees.evolved_tree",
    "Forest": "hardgrad.trees.forest",
    "ForestAlignment": "hardgrad.trees.alignment",
    "ForestBuilder": "hardgrad.trees.forest_build",
    "HybridNeighbourhood": "hardgrad.trees.hybrid_neighbourhood",
    "ID3Tree": "hardgrad.trees.multipath",
    "InterpolationBarrier": "hardgrad.trees.interpolation",
    "LocalCausalLMProposer": "hardgrad.trees.local_language_model",
    "MatchingNeighbourhood": "hardgrad.trees.matching_neighbourhood",
    "MemoryForest": "hardgrad.trees.memory_forest",
    "MemoryForestClassifier": "hardgrad.trees.memory_estimator",
    "MemoryForestModel": "hardgrad.trees.memory_model",
    "MetaTreeClassifier": "hardgrad.trees.meta_tree",
    "MetaTreeWeights": "hardgrad.trees.meta_tree_weights",
    "MultiPathTreePredictor": "hardgrad.trees.multipath",
    "NearestNeighbourhoodClassifier": "hardgrad.trees.neighbourhood_estimators",
    "NearestNeighbourhoodRegressor": "hardgrad.trees.neighbourhood_estimators",
    "NetworkConversion": "hardgrad.trees.network_tree",
    "OptimalTreeEnsemble": "hardgrad.trees.optimal_ensemble",
    "Proposal": "hardgrad.trees.proposers",
    "RandomProposer": "hardgrad.trees.proposers",
    "ResponseMemory": "hardgrad.trees.response_memory",
    "RoutedExperts": "hardgrad.trees.routed_experts",
    "SemanticPriorProposer": "hardgrad.trees.semantic_proposer",
    "SmoothingReport": "hardgrad.trees.smoothing",
    "SmoothingRule": "hardgrad.trees.smoothing_rules",
    "SoftForest": "hardgrad.trees.soft_forest",
    "SoftForestClassifier": "hardgrad.trees.estimators",
    "SoftForestRegressor": "hardgrad.trees.estimators",
    "SoftTree": "hardgrad.trees.soft_tree",
    "StreamingExpertClassifier": "hardgrad.trees.expert_stream",
    "TaskContext": "hardgrad.trees.proposers",
    "TooManyRegionsError": "hardgrad.core.errors",
    "TreeExplanation": "hardgrad.trees.soft_tree_exact",
    "TreeProposer": "hardgrad.trees.proposers",
    "TreeText": "hardgrad.trees.tree_text",
    "active_region": "hardgrad.trees.activation_regions",
    "approximate_activation": "hardgrad.trees.network_tree",
    "compress": "hardgrad.trees.compression",
    "convert_network": "hardgrad.trees.network_tree",
    "count_regions": "hardgrad.trees.activation_regions",
    "cut_complexity": "hardgrad.trees.optimal_instance",
    "effective_parameter_penalty": "hardgrad.trees.soft_smoothing",
    "effective_parameters": "hardgrad.trees.smoothing_matrices",
    "explain": "hardgrad.trees.explanation",
    "forest_from_texts": "hardgrad.trees.tree_text",
    "forest_from_trees": "hardgrad.trees.forest_build",
    "hybrid_switch": "hardgrad.trees.hybrid_neighbourhood",
    "import_forest": "hardgrad.trees.importers",
    "interpolate": "hardgrad.trees.alignment",
    "interpolation_barrier": "hardgrad.trees.interpolation",
    "majority_gap": "hardgrad.trees.optimal_instance",
    "match_forests": "hardgrad.trees.alignment",
    "merge_forests": "hardgrad.trees.alignment",
    "minimum_cuts": "hardgrad.trees.optimal_ensemble",
    "minimum_trees": "hardgrad.trees.optimal_ensemble",
    "network_to_tree": "hardgrad.trees.network_tree",
    "plot_regions": "hardgrad.trees.activation_regions",
    "smoother_matrix": "hardgrad.trees.smoothing",
    "train_meta_tree": "hardgrad.trees.meta_tree_training",
    "tune_decay": "hardgrad.trees.multipath",
    "with_threshold": "hardgrad.trees.threshold",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
