"""Figures behind the pictures of a report: reliability, confusion, residuals, thresholds, flow of rows. NumPy only, draws nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.forest import Forest

Floats = NDArray[np.float64]


def count_node_rows(forest: Forest, table: Any, sample_weight: Any = None) -> Floats:
    """Return how many rows (or how much weight) of a table pass each node: float64 [nodes]."""
    leaves = forest.apply(table)
    weight = np.ones(len(leaves)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    rows = np.zeros(forest.n_nodes)
    for tree in range(forest.n_trees):
        rows += np.bincount(leaves[:, tree], weights=weight, minlength=forest.n_nodes)
    for node in range(forest.n_nodes - 1, -1, -1):  # children follow their parent
        if forest.left[node] >= 0:
            rows[node] = rows[forest.left[node]] + rows[forest.right[node]]
    return rows


@dataclass(frozen=True)
class Reliability:
    """Predicted against observed, in bins of [0, 1]; empty bins are left out.

    Parameters
    ----------
    edges : float64 [bins + 1].
    predicted, observed, weight : float64 [bins in use]; `bin` int64 [bins in use] says which.
    error : expected calibration error, the mean |observed - predicted| by weight.
    """

    edges: Floats
    bin: NDArray[np.int64]
    predicted: Floats
    observed: Floats
    weight: Floats
    error: float

    def interval(self) -> list[tuple[float, float]]:
        """Return where the true frequency of each bin lies with 95 % confidence (Wilson's score interval, a weight is a count)."""
        z2 = 1.96**2
        centre = (self.observed + z2 / (2 * self.weight)) / (1 + z2 / self.weight)
        inside = self.observed * (1 - self.observed) / self.weight + z2 / (4 * self.weight**2)
        half = 1.96 * np.sqrt(inside) / (1 + z2 / self.weight)
        return list(zip((centre - half).tolist(), (centre + half).tolist(), strict=True))


def reliability(probability: Floats, happened: NDArray[Any], weight: Floats, bins: int = 10) -> Reliability:
    """Return the reliability curve of a probability [n] of an event that happened or not [n]."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    number = np.clip((probability * bins).astype(np.int64), 0, bins - 1)
    total = np.bincount(number, weights=weight, minlength=bins).astype(np.float64)
    used = np.flatnonzero(total > 0)
    mean = np.bincount(number, weights=weight * probability, minlength=bins)[used] / total[used]
    rate = np.bincount(number, weights=weight * happened, minlength=bins)[used] / total[used]
    error = float((total[used] * np.abs(mean - rate)).sum() / total.sum()) if len(used) else 0.0
    return Reliability(edges, used, mean, rate, total[used], error)


def confusion(
    target: NDArray[np.int64], predicted: NDArray[np.int64], weight: Floats, classes: int
) -> Floats:
    """Return the weight of rows by observed (first axis) and predicted class: float64 [classes, classes]."""
    cells = np.bincount(target * classes + predicted, weights=weight, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.float64)


@dataclass(frozen=True)
class ThresholdTable:
    """Weights of true and false positives when the positive class is predicted above a threshold.

    Parameters
    ----------
    threshold : float64 [t], increasing; a row is positive where its probability is > threshold.
    true_positive, false_positive : float64 [t].
    positive, negative : weight of all positive and all negative rows.
    """

    threshold: Floats
    true_positive: Floats
    false_positive: Floats
    positive: float
    negative: float


def threshold_table(
    probability: Floats, positive: NDArray[np.bool_], weight: Floats, steps: int = 200
) -> ThresholdTable:
    """Count decisions for thresholds 0, 1/steps, ..., 1."""
    grid = np.arange(steps + 1) / steps
    order = np.argsort(probability, kind="stable")
    p = probability[order]
    first = np.searchsorted(p, grid, side="right")  # rows from here on are above the threshold
    hits = np.concatenate([[0.0], np.cumsum(np.where(positive, weight, 0.0)[order])])
    false = np.concatenate([[0.0], np.cumsum(np.where(positive, 0.0, weight)[order])])
    return ThresholdTable(
        grid, hits[-1] - hits[first], false[-1] - false[first], float(hits[-1]), float(false[-1])
    )


@dataclass(frozen=True)
class Residuals:
    """Observed minus predicted of one output, whole and along the prediction.

    Parameters
    ----------
    predicted : float64 [bins]; mean prediction of bins that hold equally many rows.
    low, middle, high : float64 [bins]; 10 %, 50 % and 90 % quantile of the observed value in each.
    edges, count : histogram of the residuals.
    bias, mae, rmse, r2 : over all rows.
    """

    predicted: Floats
    low: Floats
    middle: Floats
    high: Floats
    edges: Floats
    count: Floats
    bias: float
    mae: float
    rmse: float
    r2: float


def residuals(predicted: Floats, observed: Floats, weight: Floats, bins: int = 12) -> Residuals:
    """Judge predictions [n] of observed values [n] with weights [n]."""
    error = observed - predicted
    total = weight.sum()
    order = np.argsort(predicted, kind="stable")
    groups = [group for group in np.array_split(order, min(bins, len(order))) if len(group)]
    quantiles = np.array([np.quantile(observed[group], (0.1, 0.5, 0.9)) for group in groups]).reshape(-1, 3)
    reach = float(np.quantile(np.abs(error), 0.995)) or 1.0
    count, edges = np.histogram(np.clip(error, -reach, reach), bins=25, range=(-reach, reach), weights=weight)
    mean = (observed * weight).sum() / total
    spread = float((weight * (observed - mean) ** 2).sum() / total)
    squared = float((weight * error**2).sum() / total)
    return Residuals(
        predicted=np.array([predicted[group].mean() for group in groups]),
        low=quantiles[:, 0],
        middle=quantiles[:, 1],
        high=quantiles[:, 2],
        edges=edges,
        count=count.astype(np.float64),
        bias=float((weight * error).sum() / total),
        mae=float((weight * np.abs(error)).sum() / total),
        rmse=squared**0.5,
        r2=1.0 - squared / spread if spread > 0 else 0.0,
    )
