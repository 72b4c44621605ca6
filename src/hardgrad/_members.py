"""The members of the registries, named by reference: listing them imports nothing."""

from __future__ import annotations

from hardgrad.core import registry

REPRODUCTIONS = {
    "flagship-small-tables": "hardgrad.reproductions.flagship_small_tables:flagship_small_tables",
    "range-entropy": "hardgrad.reproductions.range_entropy:range_entropy",
    "sau": "hardgrad.reproductions.sau:sau",
}
OPERATIONS = {
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
    "hardgrad.functional.piecewise": ("abs", "clamp", "hardtanh", "heaviside", "relu", "sign"),
    "hardgrad.functional.rounding": ("ceil", "floor", "remainder", "round"),
    "hardgrad.functional.smoothed": ("piecewise_linear", "sau"),
    "hardgrad.functional.selection": ("sort",),
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
