"""Circuits of gates: trained soft, shipped hard. Names are imported when they are used, so that artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Circuit": "hardgrad.logic.circuit",
    "CircuitModel": "hardgrad.logic.circuit_model",
    "CircuitRuntime": "hardgrad.logic.runtime",
    "CircuitWriter": "hardgrad.logic.lut",
    "CodebookHead": "hardgrad.logic.heads",
    "EquivalenceResult": "hardgrad.logic.equivalence",
    "ExactLogicLayer": "hardgrad.logic.layers",
    "EquivalenceResult": "hardgrad.logic.proving",
    "Gate": "hardgrad.logic.gate_ids",
    "GroupSum": "hardgrad.logic.heads",
    "LearnableWiring": "hardgrad.logic.wiring",
    "LogicConv2d": "hardgrad.logic.convolution",
    "LogicGateClassifier": "hardgrad.logic.estimators",
    "LogicGateRegressor": "hardgrad.logic.estimators",
    "LogicLayer": "hardgrad.logic.layers",
    "LogicNetwork": "hardgrad.logic.network",
    "NetworkBuilder": "hardgrad.logic.circuit_build",
    "OrPool2d": "hardgrad.logic.convolution",
    "SoftThermometer": "hardgrad.logic.soft_thermometer",
    "ThermometerEncoder": "hardgrad.logic.thermometer",
    "ThresholdSum": "hardgrad.logic.heads",
    "WeightedGroupSum": "hardgrad.logic.heads",
    "equivalence": "hardgrad.logic.equivalence",
    "evaluate_gates": "hardgrad.logic.gate_evaluation",
    "equivalence": "hardgrad.logic.proving",
    "gate_of_word": "hardgrad.logic.gate_ids",
    "hard_table": "hardgrad.logic.gates",
    "initial_weights": "hardgrad.logic.initialisation",
    "input_wise_to_softmax": "hardgrad.logic.gates",
    "lut_word": "hardgrad.logic.gate_ids",
    "prepare": "hardgrad.logic.runtime",
    "random_wiring": "hardgrad.logic.wiring",
    "simplify": "hardgrad.logic.simplify",
    "soft_table": "hardgrad.logic.gates",
    "softmax_to_input_wise": "hardgrad.logic.gates",
    "suggest_tau": "hardgrad.logic.heads",
    "simplify": "hardgrad.logic.simplification",
    "truth_rows": "hardgrad.logic.gate_ids",
    "unique_wiring": "hardgrad.logic.wiring",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
