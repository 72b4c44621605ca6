"""Gradients where there are none: through samples, solvers and fixed points, and what is wrong with those there are.

Names are imported when they are used. No module here is called like a public name.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "EstimatorReport": "hardgrad.gradients.estimator_comparison",
    "GradientEstimator": "hardgrad.gradients.estimators",
    "Gumbel": "hardgrad.gradients.estimators",
    "GumbelRao": "hardgrad.gradients.estimators",
    "GumbelSoftmax": "hardgrad.gradients.gumbel_softmax",
    "HyperGradient": "hardgrad.gradients.hypergradients",
    "ImplicitFunction": "hardgrad.gradients.implicit",
    "ImplicitReport": "hardgrad.gradients.implicit",
    "LinearSolution": "hardgrad.gradients.linear_solvers",
    "NoisyRectifier": "hardgrad.gradients.estimators",
    "Proximal": "hardgrad.gradients.proximal",
    "Rebar": "hardgrad.gradients.score_functions",
    "Reinforce": "hardgrad.gradients.score_functions",
    "Relax": "hardgrad.gradients.score_functions",
    "RunningBaseline": "hardgrad.gradients.score_functions",
    "SmoothTimesStochastic": "hardgrad.gradients.estimators",
    "StochasticGraph": "hardgrad.gradients.stochastic_graph",
    "StraightThrough": "hardgrad.gradients.estimators",
    "combined": "hardgrad.gradients.evolution",
    "compare_estimators": "hardgrad.gradients.estimator_comparison",
    "evolution_strategies": "hardgrad.gradients.evolution",
    "hypergradient": "hardgrad.gradients.hypergradients",
    "implicit_fixed_point": "hardgrad.gradients.implicit",
    "implicit_root": "hardgrad.gradients.implicit",
    "linear_solve": "hardgrad.gradients.linear_solvers",
    "sample_bernoulli": "hardgrad.gradients.samplers",
    "sample_categorical": "hardgrad.gradients.samplers",
    "sample_permutation": "hardgrad.gradients.subsets",
    "sample_subset": "hardgrad.gradients.subsets",
    "surrogate_loss": "hardgrad.gradients.samplers",
    "truncated_unroll": "hardgrad.gradients.evolution",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
