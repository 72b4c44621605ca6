"""The members of the registries, named by reference: listing them imports nothing."""

from __future__ import annotations

from hardgrad.core import registry


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
        "memory-saving", "hardgrad.reproductions.memory_saving:memory_saving"
    )
    registry.reproductions.register_lazy("kink-audit", "hardgrad.reproductions.kink_audit:kink_audit")
    registry.reproductions.register_lazy(
        "nonsmooth-training", "hardgrad.reproductions.nonsmooth_training:nonsmooth_training"
    )
    registry.reproductions.register_lazy(
        "chaos-gradients", "hardgrad.reproductions.chaos_gradients:chaos_gradients"
    )
