"""The ranges of the forest estimators' parameters, checked when training begins, as scikit-learn does."""

from __future__ import annotations

from typing import Any

from hardgrad.core.errors import ParameterError
from hardgrad.trees.soft_forest import Split

GROWN: tuple[Split, ...] = (
    "sparse_oblique",
    "axis",
    "oblivious",
)  # the splits that there is a greedy start for


def check_parameters(model: Any) -> None:
    """Raise `ParameterError` or `BudgetError` where a parameter of a forest estimator is outside its range; the message names it."""

    def require(condition: bool, name: str, expected: str) -> None:
        if not condition:
            raise ParameterError(
                f"{type(model).__name__} got {name}={getattr(model, name)!r}; expected {expected}."
            )

    require(model.n_estimators is None or model.n_estimators >= 1, "n_estimators", "at least 1, or None")
    require(1 <= model.max_depth <= 10, "max_depth", "1 to 10")
    require(model.split in GROWN, "split", f"one of {', '.join(GROWN)}")
    require(model.max_iter >= 1, "max_iter", "at least 1")
    require(model.batch_size >= 1, "batch_size", "at least 1")
    require(model.learning_rate > 0, "learning_rate", "a positive number")
    require(
        len(tuple(model.temperature)) == 2 and min(model.temperature) > 0,
        "temperature",
        "two positive numbers (from, to)",
    )
    tuned = isinstance(model.threshold, str) and model.threshold == "tuned"
    require(
        tuned or (isinstance(model.threshold, float) and 0 < model.threshold < 1),
        "threshold",
        "a number between 0 and 1, or 'tuned'",
    )
    require(0 < model.validation_fraction < 1, "validation_fraction", "a share between 0 and 1")
    require(
        model.l1 is None or all(penalty >= 0 for penalty in model.l1),
        "l1",
        "penalties that are not negative",
    )
    require(model.time_budget is None or model.time_budget > 0, "time_budget", "seconds, or None")
    if model.budget is not None:
        from hardgrad.trees.budget import parse_budget

        parse_budget(model.budget)
