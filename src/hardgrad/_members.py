"""The members of the registries, named by reference: listing them imports nothing."""

from __future__ import annotations

from hardgrad.core import registry

REPRODUCTIONS = {
    "flagship-small-tables": "hardgrad.reproductions.flagship_small_tables:flagship_small_tables",
    "neural-ndcg": "hardgrad.reproductions.neural_ndcg:neural_ndcg",
    "range-entropy": "hardgrad.reproductions.range_entropy:range_entropy",
}
OPERATIONS = {
    "hardgrad.functional.choices": ("argmax", "argmin", "choice", "max", "min"),
    "hardgrad.functional.comparisons": ("greater", "sign"),
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
    "hardgrad.functional.quantiles": ("median", "quantile"),
    "hardgrad.functional.selection": ("sort",),
    "hardgrad.functional.transport": ("matching",),
}


def declare() -> None:
    """Fill the registries with everything that hardgrad ships."""
    registry.artifacts.register_lazy("forest", "hardgrad.trees.forest:Forest")
    registry.estimators.register_lazy(
        "SoftForestClassifier", "hardgrad.trees.estimators:SoftForestClassifier"
    )
    registry.estimators.register_lazy("SoftForestRegressor", "hardgrad.trees.estimators:SoftForestRegressor")
    for slug, reference in REPRODUCTIONS.items():
        registry.reproductions.register_lazy(slug, reference)
    for module, names in OPERATIONS.items():
        for name in names:
            registry.operations.register_lazy(name, f"{module}:{name}")
