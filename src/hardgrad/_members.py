"""The members of the registries, named by reference: listing them imports nothing."""

from __future__ import annotations

from hardgrad.core import registry

ARTIFACTS = {
    "bit-parser": "hardgrad.bits.parser_model:ParserModel",
    "block-low-rank-matrix": "hardgrad.bits.block_low_rank_matrix:BlockLowRankMatrix",
    "branch-tree": "hardgrad.trees.branch_tree:BranchTree",
    "category-table": "hardgrad.tabular.category_table:CategoryTable",
    "circuit": "hardgrad.logic.circuit:Circuit",
    "circuit-model": "hardgrad.logic.circuit_model:CircuitModel",
    "comparator-network": "hardgrad.nn.comparator_network:ComparatorNetwork",
    "forest": "hardgrad.trees.forest:Forest",
    "gated-mlp": "hardgrad.nn.gated_mlp:GatedMLP",
    "hamming-index": "hardgrad.bits.hamming:HammingIndex",
    "hybrid-neighbourhood": "hardgrad.trees.hybrid_neighbourhood:HybridNeighbourhood",
    "lattice-codes": "hardgrad.bits.lattice_codes:LatticeCodes",
    "matching-neighbourhood": "hardgrad.trees.matching_neighbourhood:MatchingNeighbourhood",
    "memory-forest": "hardgrad.trees.memory_model:MemoryForestModel",
    "meta-tree-weights": "hardgrad.trees.meta_tree_weights:MetaTreeWeights",
    "neighbourhood": "hardgrad.tabular.neighbour_model:Neighbourhood",
    "packed-classifier": "hardgrad.bits.packed_classifier:PackedClassifier",
    "packed-conv-network": "hardgrad.bits.packed_conv:PackedConvNetwork",
    "packed-network": "hardgrad.bits.packed:PackedNetwork",
    "routed-experts": "hardgrad.trees.routed_experts:RoutedExperts",
}
ESTIMATORS = {
    "BinaryMLPClassifier": "hardgrad.bits.estimators:BinaryMLPClassifier",
    "DistilledTreeClassifier": "hardgrad.trees.distillation:DistilledTreeClassifier",
    "EvolvedTreeClassifier": "hardgrad.trees.evolved_tree:EvolvedTreeClassifier",
    "EvolvedTreeRegressor": "hardgrad.trees.evolved_tree:EvolvedTreeRegressor",
    "ID3Tree": "hardgrad.trees.multipath:ID3Tree",
    "LogicGateClassifier": "hardgrad.logic.estimators:LogicGateClassifier",
    "LogicGateRegressor": "hardgrad.logic.estimators:LogicGateRegressor",
    "MemoryForestClassifier": "hardgrad.trees.memory_estimator:MemoryForestClassifier",
    "MetaTreeClassifier": "hardgrad.trees.meta_tree:MetaTreeClassifier",
    "MultiPathTreePredictor": "hardgrad.trees.multipath:MultiPathTreePredictor",
    "NearestNeighbourhoodClassifier": "hardgrad.trees.neighbourhood_estimators:NearestNeighbourhoodClassifier",
    "NearestNeighbourhoodRegressor": "hardgrad.trees.neighbourhood_estimators:NearestNeighbourhoodRegressor",
    "NeighbourhoodClassifier": "hardgrad.tabular.neighbours:NeighbourhoodClassifier",
    "NeighbourhoodRegressor": "hardgrad.tabular.neighbours:NeighbourhoodRegressor",
    "OptimalTreeEnsemble": "hardgrad.trees.optimal_ensemble:OptimalTreeEnsemble",
    "SoftForestClassifier": "hardgrad.trees.estimators:SoftForestClassifier",
    "SoftForestRegressor": "hardgrad.trees.estimators:SoftForestRegressor",
    "StreamingExpertClassifier": "hardgrad.trees.expert_stream:StreamingExpertClassifier",
}
# Each lies in the module of its own name in hardgrad.reproductions.
REPRODUCTIONS = (
    "binary-connect",
    "biper",
    "bit-cky",
    "block-low-rank",
    "boolean-influence",
    "categorical-encoders",
    "channel-gates",
    "chaos-gradients",
    "circuit-search",
    "confusion-losses",
    "degree-curriculum",
    "distilled-tree",
    "error-free-swaps",
    "evolved-trees",
    "flagship-small-tables",
    "forest-merging",
    "forest-smoothers",
    "gumbel-softmax",
    "implicit-differentiation",
    "implicit-hyperparameters",
    "kink-audit",
    "lattice-quantization",
    "light-logic-gates",
    "logic-gate-networks",
    "memory-saving",
    "meta-tree",
    "monotonic-sorting",
    "multipath-trees",
    "neighbourhoods",
    "network-to-tree",
    "neural-ndcg",
    "nonsmooth-training",
    "optimal-ensembles",
    "range-entropy",
    "response-memory",
    "reste",
    "reverse-derivative",
    "sau",
    "stochastic-neurons",
    "streaming-experts",
    "wonderland-tour",
)
OPERATIONS = {
    "hardgrad.functional.choices": ("argmax", "argmin", "choice", "max", "min"),
    "hardgrad.functional.comparisons": (
        "eq",
        "greater",
        "greater_equal",
        "isclose",
        "less",
        "less_equal",
        "ne",
    ),
    "hardgrad.functional.counting": ("bucketize", "histogram", "nearest", "unique_count"),
    "hardgrad.functional.exact_only": ("argwhere", "bincount", "nonzero"),
    "hardgrad.functional.logical": (
        "all",
        "any",
        "cumall",
        "cumany",
        "first_true",
        "logical_and",
        "logical_not",
        "logical_or",
        "logical_xor",
    ),
    "hardgrad.functional.lookup": (
        "gather",
        "index_select",
        "narrow",
        "scatter",
        "take",
        "take_along_dim",
        "where",
    ),
    "hardgrad.functional.orders": ("argsort", "kthvalue", "rank", "topk"),
    "hardgrad.functional.piecewise": ("abs", "clamp", "hardtanh", "heaviside", "relu", "sign"),
    "hardgrad.functional.quantiles": ("median", "quantile"),
    "hardgrad.functional.rounding": ("ceil", "floor", "remainder", "round"),
    "hardgrad.functional.selection": ("sort",),
    "hardgrad.functional.smoothed": ("sau",),
    "hardgrad.functional.subset_weights": ("topk_weights",),
    "hardgrad.functional.transport": ("matching",),
}


def declare() -> None:
    """Fill the registries with everything that hardgrad ships."""
    for table, members in ((registry.artifacts, ARTIFACTS), (registry.estimators, ESTIMATORS)):
        for name, reference in members.items():
            table.register_lazy(name, reference)
    for slug in REPRODUCTIONS:
        module = slug.replace("-", "_")
        registry.reproductions.register_lazy(slug, f"hardgrad.reproductions.{module}:{module}")
    for module, names in OPERATIONS.items():
        for name in names:
            registry.operations.register_lazy(name, f"{module}:{name}")
