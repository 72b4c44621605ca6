"""The members of the registries, named by reference: listing them imports nothing."""

from __future__ import annotations

from hardgrad.core import registry

OPERATIONS = {
    "hardgrad.functional.comparisons": ("greater", "sign"),
    "hardgrad.functional.selection": ("sort",),
}


def declare() -> None:
    """Fill the registries with everything that hardgrad ships."""
    registry.artifacts.register_lazy("forest", "hardgrad.trees.forest:Forest")
    registry.estimators.register_lazy(
        "SoftForestClassifier", "hardgrad.trees.estimators:SoftForestClassifier"
    )
    registry.estimators.register_lazy("SoftForestRegressor", "hardgrad.trees.estimators:SoftForestRegressor")
    registry.reproductions.register_lazy(
        "flagship-small-tables", "hardgrad.reproductions.flagship_small_tables:flagship_small_tables"
    )
    registry.reproductions.register_lazy(
        "implicit-differentiation", "hardgrad.reproductions.implicit_differentiation:implicit_differentiation"
    )
    registry.reproductions.register_lazy(
        "implicit-hyperparameters", "hardgrad.reproductions.implicit_hyperparameters:implicit_hyperparameters"
    )
    for module, names in OPERATIONS.items():
        for name in names:
            registry.operations.register_lazy(name, f"{module}:{name}")
