"""Gradients through what has none of its own: samples of discrete variables. Names are imported when they are used.

No module here is called like a public name: importing it would put the module in the place of the function.
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
    "NoisyRectifier": "hardgrad.gradients.estimators",
    "Rebar": "hardgrad.gradients.score_functions",
    "Reinforce": "hardgrad.gradients.score_functions",
    "Relax": "hardgrad.gradients.score_functions",
    "RunningBaseline": "hardgrad.gradients.score_functions",
    "SmoothTimesStochastic": "hardgrad.gradients.estimators",
    "StochasticGraph": "hardgrad.gradients.stochastic_graph",
    "StraightThrough": "hardgrad.gradients.estimators",
    "compare_estimators": "hardgrad.gradients.estimator_comparison",
    "sample_bernoulli": "hardgrad.gradients.samplers",
    "sample_categorical": "hardgrad.gradients.samplers",
    "sample_permutation": "hardgrad.gradients.subsets",
    "sample_subset": "hardgrad.gradients.subsets",
    "surrogate_loss": "hardgrad.gradients.samplers",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
