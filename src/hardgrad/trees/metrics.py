"""Metrics of hard predictions, by name: what a candidate is chosen by and what is reported. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError, suggestion
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
    """

    name: str
    higher_is_better: bool
    tasks: tuple[str, ...]
    function: Function

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


def _accuracy(raw: Array, Y: Array, weight: Array, objective: Objective) -> float:
    return float(np.average(class_index(raw) == true_index(Y), weights=weight))


def _balanced_accuracy(raw: Array, Y: Array, weight: Array, objective: Objective) -> float:
    truth, guess = true_index(Y), class_index(raw)
    return float(
        np.mean([np.average(guess[truth == k] == k, weights=weight[truth == k]) for k in np.unique(truth)])
    )


def _f1(raw: Array, Y: Array, weight: Array, objective: Objective) -> float:
    """F1 of the second class, or the mean over classes."""
    truth, guess = true_index(Y), class_index(raw)
    classes = [1] if Y.shape[1] == 1 else list(range(Y.shape[1]))
    scores = []
    for k in classes:
        hit = float(weight[(truth == k) & (guess == k)].sum())
        wrong = float(weight[(truth == k) != (guess == k)].sum())
        scores.append(2 * hit / (2 * hit + wrong) if hit + wrong > 0 else 0.0)
    return float(np.mean(scores))


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
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("log_loss", False, CLASSIFICATION, _loss),
        Metric("accuracy", True, CLASSIFICATION, _accuracy),
        Metric("balanced_accuracy", True, CLASSIFICATION, _balanced_accuracy),
        Metric("f1", True, CLASSIFICATION, _f1),
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
