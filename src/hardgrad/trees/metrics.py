"""Metrics of hard predictions, by name: what a candidate is chosen by and what is reported. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError, suggestion
from hardgrad.losses.confusion_counts import ConfusionCounts, tune_threshold
from hardgrad.trees.objectives import Objective

Array = NDArray[np.float64]
Function = Callable[[Array, Array, Array, Objective], float]


@dataclass(frozen=True)
class Metric:
    """A metric of raw scores [n, outputs] against targets Y [n, outputs] with weights [n].

    Parameters
    ----------
    name : as given to an estimator.
    higher_is_better : direction.
    tasks : the objectives that it is defined for.
    function : computes it.
    confusion : (name, beta) of `ConfusionCounts.metric`, for a metric of decisions; None for one of scores.
    """

    name: str
    higher_is_better: bool
    tasks: tuple[str, ...]
    function: Function
    confusion: tuple[str, float] | None = None

    def __call__(self, raw: Array, Y: Array, weight: Array, objective: Objective) -> float:
        """Return the metric."""
        return self.function(raw, Y, weight, objective)


def class_index(raw: Array) -> NDArray[np.int64]:
    """Return the predicted class: whether one score is positive, or the first largest of several."""
    return (raw[:, 0] > 0).astype(np.int64) if raw.shape[1] == 1 else raw.argmax(axis=1)


def true_index(Y: Array) -> NDArray[np.int64]:
    """Return the class of each row of 0/1 or one-hot targets."""
    return Y[:, 0].astype(np.int64) if Y.shape[1] == 1 else Y.argmax(axis=1)


def _loss(raw: Array, Y: Array, weight: Array, objective: Objective) -> float:
    return objective.mean_loss(raw, Y, weight)


def _counted(
    raw: Array,
    Y: Array,
    weight: Array,
    objective: Objective,
    *,
    confusion: tuple[str, float],
    cut: float = 0.0,
) -> float:
    """A metric of the confusion matrix; of two classes the second is the positive one, of several it is as in scikit-learn."""
    name, beta = confusion
    classes = None if Y.shape[1] == 1 else Y.shape[1]
    counts = ConfusionCounts.from_labels(
        class_index(raw - cut), true_index(Y), n_classes=classes, sample_weight=weight
    )
    return float(counts.metric(name, beta=beta, average="multiclass"))


def _tuned(
    raw: Array, Y: Array, weight: Array, objective: Objective, *, confusion: tuple[str, float]
) -> float:
    return best_cut(raw, Y, weight, confusion)[1]


def best_cut(raw: Array, Y: Array, weight: Array, confusion: tuple[str, float]) -> tuple[float, float]:
    """Return the raw score above which the second class is to be predicted for the best metric, and that metric."""
    name, beta = confusion
    found = tune_threshold(raw[:, 0], Y[:, 0], name, beta=beta, sample_weight=weight)
    return found.threshold, found.value


def _auc(raw: Array, Y: Array, weight: Array, objective: Objective) -> float:
    from sklearn.metrics import roc_auc_score

    if len(np.unique(Y[:, 0])) < 2:
        return 0.5
    return float(roc_auc_score(Y[:, 0], raw[:, 0], sample_weight=weight))


def _rmse(raw: Array, Y: Array, weight: Array, objective: Objective) -> float:
    return float(np.sqrt(np.average(((raw - Y) ** 2).mean(axis=1), weights=weight)))


def _mae(raw: Array, Y: Array, weight: Array, objective: Objective) -> float:
    return float(np.average(np.abs(raw - Y).mean(axis=1), weights=weight))


def _r2(raw: Array, Y: Array, weight: Array, objective: Objective) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(Y, raw, sample_weight=weight))


CLASSIFICATION = ("logistic", "softmax")
CONFUSION = {
    **{
        name: (name, 1.0)
        for name in ("accuracy", "balanced_accuracy", "f1", "gmean", "jaccard", "kappa", "mcc", "youden")
    },
    "f0.5": ("fbeta", 0.5),
    "f2": ("fbeta", 2.0),
}
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("log_loss", False, CLASSIFICATION, _loss),
        *(
            Metric(name, True, CLASSIFICATION, partial(_counted, confusion=confusion), confusion)
            for name, confusion in CONFUSION.items()
        ),
        Metric("auc", True, ("logistic",), _auc),
        Metric("rmse", False, ("squared",), _rmse),
        Metric("mae", False, ("squared",), _mae),
        Metric("r2", True, ("squared",), _r2),
    )
}


def find_metric(name: str | None, objective: Objective) -> Metric:
    """Return the metric called `name`, or the default: log-loss, or the root of the mean squared error.

    Raises
    ------
    ParameterError : an unknown name, or a metric that is not defined for this task.
    """
    if name is None:
        name = "rmse" if objective.kind == "squared" else "log_loss"
    known = [m.name for m in METRICS.values() if objective.kind in m.tasks]
    if name not in known:
        raise ParameterError(
            f"metric got {name!r}; for this task expected one of {', '.join(known)}.{suggestion(name, known)}"
        )
    return METRICS[name]


def at_threshold(metric: Metric, cut: float | None) -> Metric:
    """Return the metric of the decisions `raw > cut` of two classes, or of those at the best cut (None).

    Raises
    ------
    ParameterError : a best cut was asked for, and the metric does not depend on decisions.
    """
    if metric.confusion is None:
        if cut is None:
            raise ParameterError(
                f"threshold got 'tuned' with metric {metric.name!r}, which needs no threshold; expected one of {', '.join(CONFUSION)}."
            )
        return metric
    function = (
        partial(_tuned, confusion=metric.confusion)
        if cut is None
        else partial(_counted, confusion=metric.confusion, cut=cut)
    )
    return replace(metric, function=function)
