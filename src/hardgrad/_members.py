"""The members of the registries, named by reference: listing them imports nothing."""

from __future__ import annotations

from hardgrad.core import registry

ARTIFACTS = {
    "comparator-network": "hardgrad.nn.comparator_network:ComparatorNetwork",
    "forest": "hardgrad.trees.forest:Forest",
    "gated-mlp": "hardgrad.nn.gated_mlp:GatedMLP",
}
ESTIMATORS = {
    "SoftForestClassifier": "hardgrad.trees.estimators:SoftForestClassifier",
    "SoftForestRegressor": "hardgrad.trees.estimators:SoftForestRegressor",
}
REPRODUCTIONS = {
    "error-free-swaps": "hardgrad.reproductions.error_free_swaps:error_free_swaps",
    "flagship-small-tables": "hardgrad.reproductions.flagship_small_tables:flagship_small_tables",
    "gumbel-softmax": "hardgrad.reproductions.gumbel_softmax:gumbel_softmax",
    "memory-saving": "hardgrad.reproductions.memory_saving:memory_saving",
    "monotonic-sorting": "hardgrad.reproductions.monotonic_sorting:monotonic_sorting",
    "neural-ndcg": "hardgrad.reproductions.neural_ndcg:neural_ndcg",
    "range-entropy": "hardgrad.reproductions.range_entropy:range_entropy",
    "stochastic-neurons": "hardgrad.reproductions.stochastic_neurons:stochastic_neurons",
    "wonderland-tour": "hardgrad.reproductions.wonderland_tour:wonderland_tour",
}
OPERATIONS = {
        "gather",
        "index_select",
        "narrow",
        "scatter",
        "take",
        "take_along_dim",
        "where",
    "hardgrad.functional.choices": ("argmax", "argmin", "choice", "max", "min"),
    "hardgrad.functional.comparisons": ("greater", "sign"),
    "hardgrad.functional.lookup": (
    "hardgrad.functional.orders": ("argsort", "kthvalue", "rank", "topk"),
    "hardgrad.functional.quantiles": ("median", "quantile"),
    "hardgrad.functional.selection": ("sort",),
    "hardgrad.functional.transport": ("matching",),
    ),
}


def declare() -> None:
    """Fill the registries with everything that hardgrad ships."""
    for table, members in (
        (registry.artifacts, ARTIFACTS),
        (registry.estimators, ESTIMATORS),
        (registry.reproductions, REPRODUCTIONS),
    ):
        for name, reference in members.items():
            table.register_lazy(name, reference)
    for module, names in OPERATIONS.items():
        for name in names:
            registry.operations.register_lazy(name, f"{module}:{name}")
