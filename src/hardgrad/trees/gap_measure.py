"""The gap of a forest: its soft scores against its hard ones on rows that neither was trained on. Never imports torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.gap import GapReport
from hardgrad.trees.metrics import METRICS, Metric, class_index
from hardgrad.trees.objectives import Objective

Array = NDArray[np.float64]


def measure_gap(
    soft: Array,
    hard: Array,
    Y: Array,
    weight: Array,
    objective: Objective,
    metric: Metric,
    *,
    kept_start: bool,
) -> GapReport:
    """Compare soft raw scores with hard ones on the same held-out rows."""
    difference = np.abs(objective.probabilities(soft) - objective.probabilities(hard))
    detail = {"mean_difference": float(difference.mean()), "kept_start": float(kept_start)}
    if objective.kind == "squared":
        tolerance = 0.1 * float(Y.std()) if len(Y) else 0.0
        agreement = float(np.average((difference <= tolerance).all(axis=1), weights=weight))
        detail["tolerance"] = tolerance
    else:
        agreement = float(np.average(class_index(soft) == class_index(hard), weights=weight))
        accuracy = METRICS["accuracy"]
        detail["soft_accuracy"] = accuracy(soft, Y, weight, objective)
        detail["hard_accuracy"] = accuracy(hard, Y, weight, objective)
    return GapReport(
        metric.name,
        soft=metric(soft, Y, weight, objective),
        hard=metric(hard, Y, weight, objective),
        agreement=agreement,
        worst_disagreement=float(difference.max(initial=0.0)),
        higher_is_better=metric.higher_is_better,
        rows=len(Y),
        detail=detail,
    )
