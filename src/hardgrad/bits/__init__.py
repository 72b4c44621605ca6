"""Networks and codes of bits: trained soft, shipped packed. Names are imported when they are used, so that artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "BinaryConv2d": "hardgrad.bits.layers",
    "BinaryLayer": "hardgrad.bits.layers",
    "BinaryLinear": "hardgrad.bits.layers",
    "BinaryMLPClassifier": "hardgrad.bits.estimators",
    "BinaryNetwork": "hardgrad.bits.network",
    "PackedClassifier": "hardgrad.bits.packed_classifier",
    "PackedLinear": "hardgrad.bits.packed",
    "PackedNetwork": "hardgrad.bits.packed",
    "PeriodicBinaryConv2d": "hardgrad.bits.periodic",
    "PeriodicBinaryLinear": "hardgrad.bits.periodic",
    "Recipe": "hardgrad.bits.training",
    "TwoStages": "hardgrad.bits.periodic",
    "WeightClipper": "hardgrad.bits.layers",
    "estimate_batch_norm": "hardgrad.bits.network",
    "fit_network": "hardgrad.bits.training",
    "fit_two_stage": "hardgrad.bits.periodic",
    "measure_gap": "hardgrad.bits.network",
    "network_equilibrium": "hardgrad.bits.equilibrium",
    "param_groups": "hardgrad.bits.layers",
    "phase_penalty": "hardgrad.bits.periodic",
    "quantization_error": "hardgrad.bits.periodic",
    "reste_exponent": "hardgrad.bits.training",
    "set_surrogates": "hardgrad.bits.layers",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
