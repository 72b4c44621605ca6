"""Layers with a soft and a hard side, and layers that save memory. Names are imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ChannelMask": "hardgrad.nn.channel_gate",
    "ComparatorNetwork": "hardgrad.nn.comparator_network",
    "ConditionalBlock": "hardgrad.nn.conditional",
    "EntropyNet": "hardgrad.nn.entropy",
    "EntropyRegularizedAttention": "hardgrad.nn.entropy",
    "ExactConditionalBlock": "hardgrad.nn.conditional",
    "GatePruner": "hardgrad.nn.prune",
    "GatedMLP": "hardgrad.nn.gated_mlp",
    "NearestCode": "hardgrad.nn.vector_quantizer",
    "PermutationEquivariantScorer": "hardgrad.nn.sorting",
    "PiecewiseLinear": "hardgrad.nn.activations",
    "SAU": "hardgrad.nn.activations",
    "SmoothedActivation": "hardgrad.nn.activations",
    "SortingNetwork": "hardgrad.nn.sorting",
    "TrainableGate": "hardgrad.nn.channel_gate",
    "VectorQuantizer": "hardgrad.nn.vector_quantizer",
    "save_memory": "hardgrad.nn.memory_saving.convert",
    "sparsity_penalty": "hardgrad.nn.conditional",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
