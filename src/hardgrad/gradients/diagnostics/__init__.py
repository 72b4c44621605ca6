"""Ask what is wrong with a gradient: each question is a function that returns a frozen report with a verdict, and prints nothing."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ChaosReport": "hardgrad.gradients.diagnostics.chaos",
    "ChaosVerdict": "hardgrad.gradients.diagnostics.chaos",
    "EquilibriumPoint": "hardgrad.gradients.diagnostics.surrogates",
    "EquilibriumReport": "hardgrad.gradients.diagnostics.surrogates",
    "EquilibriumVerdict": "hardgrad.gradients.diagnostics.surrogates",
    "GradientCheck": "hardgrad.gradients.diagnostics.gradient_check",
    "GradientVerdict": "hardgrad.gradients.diagnostics.gradient_check",
    "KinkReport": "hardgrad.gradients.diagnostics.kinks",
    "KinkVerdict": "hardgrad.gradients.diagnostics.kinks",
    "ModuleKinks": "hardgrad.gradients.diagnostics.kinks",
    "PathPoint": "hardgrad.gradients.diagnostics.nonsmooth",
    "PathReport": "hardgrad.gradients.diagnostics.nonsmooth",
    "PathVerdict": "hardgrad.gradients.diagnostics.nonsmooth",
    "Report": "hardgrad.gradients.diagnostics.report",
    "SavedTensorReport": "hardgrad.gradients.diagnostics.saved_memory",
    "SavedTensorVerdict": "hardgrad.gradients.diagnostics.saved_memory",
    "SharpnessReport": "hardgrad.gradients.diagnostics.nonsmooth",
    "SharpnessVerdict": "hardgrad.gradients.diagnostics.nonsmooth",
    "audit_kinks": "hardgrad.gradients.diagnostics.kinks",
    "chaos_report": "hardgrad.gradients.diagnostics.chaos",
    "check_gradient": "hardgrad.gradients.diagnostics.gradient_check",
    "estimating_error": "hardgrad.gradients.diagnostics.surrogates",
    "gradient_instability": "hardgrad.gradients.diagnostics.surrogates",
    "l1_path": "hardgrad.gradients.diagnostics.nonsmooth",
    "lyapunov_exponents": "hardgrad.gradients.diagnostics.chaos",
    "nondifferentiable_density_bound": "hardgrad.gradients.diagnostics.kinks",
    "saved_for_backward": "hardgrad.gradients.diagnostics.saved_memory",
    "sharpness": "hardgrad.gradients.diagnostics.nonsmooth",
    "step_floor": "hardgrad.gradients.diagnostics.nonsmooth",
    "surrogate_equilibrium": "hardgrad.gradients.diagnostics.surrogates",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
