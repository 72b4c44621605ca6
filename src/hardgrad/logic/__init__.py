"""Logic: Boolean functions and circuits, measured and learned. Names are imported when they are used: artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "BooleanTask": "hardgrad.logic.tasks",
    "Circuit": "hardgrad.logic.circuit",
    "CircuitModel": "hardgrad.logic.circuit_model",
    "CircuitRuntime": "hardgrad.logic.runtime",
    "CurriculumReport": "hardgrad.logic.curriculum",
    "CurriculumSampler": "hardgrad.logic.curriculum",
    "DegreeCurriculum": "hardgrad.logic.curriculum",
    "DifficultyReport": "hardgrad.logic.difficulty",
    "EquivalenceResult": "hardgrad.logic.proving",
    "Estimate": "hardgrad.logic.boolean_functions",
    "Gate": "hardgrad.logic.gate_ids",
    "HasTruthTable": "hardgrad.logic.boolean_functions",
    "HoldoutReport": "hardgrad.logic.holdout",
    "LengthGeneralizationTask": "hardgrad.logic.tasks",
    "Majority": "hardgrad.logic.tasks",
    "NetworkBuilder": "hardgrad.logic.circuit_build",
    "Parity": "hardgrad.logic.tasks",
    "PointerValueRetrieval": "hardgrad.logic.tasks",
    "UnseenReport": "hardgrad.logic.unseen",
    "cross_predictability": "hardgrad.logic.difficulty",
    "cube": "hardgrad.logic.boolean_functions",
    "degree_profile": "hardgrad.logic.boolean_analysis",
    "equivalence": "hardgrad.logic.proving",
    "evaluate_terms": "hardgrad.logic.multilinear",
    "gate_of_word": "hardgrad.logic.gate_ids",
    "hamming_weight": "hardgrad.logic.boolean_functions",
    "holdout_generalization": "hardgrad.logic.holdout",
    "influence": "hardgrad.logic.boolean_analysis",
    "influence_gap": "hardgrad.logic.difficulty",
    "influences": "hardgrad.logic.boolean_analysis",
    "interpolate_subcube": "hardgrad.logic.multilinear",
    "inverse_walsh_hadamard": "hardgrad.logic.boolean_analysis",
    "is_symmetric": "hardgrad.logic.boolean_analysis",
    "lut_word": "hardgrad.logic.gate_ids",
    "min_degree_interpolator": "hardgrad.logic.interpolators",
    "noise_sensitivity": "hardgrad.logic.boolean_analysis",
    "noise_stability": "hardgrad.logic.boolean_analysis",
    "prepare": "hardgrad.logic.runtime",
    "random_feature_interpolator": "hardgrad.logic.interpolators",
    "random_points": "hardgrad.logic.boolean_functions",
    "row_index": "hardgrad.logic.boolean_functions",
    "simplify": "hardgrad.logic.simplification",
    "spectrum_terms": "hardgrad.logic.multilinear",
    "total_influence": "hardgrad.logic.boolean_analysis",
    "train_on_cube": "hardgrad.logic.curriculum",
    "truth_rows": "hardgrad.logic.gate_ids",
    "truth_table": "hardgrad.logic.boolean_functions",
    "unseen_report": "hardgrad.logic.unseen",
    "walsh_coefficient": "hardgrad.logic.boolean_analysis",
    "walsh_hadamard": "hardgrad.logic.boolean_analysis",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
