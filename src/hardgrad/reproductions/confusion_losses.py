"""Row 25, AnyLoss: F1 and G-mean trained as losses on imbalanced tables, against cross-entropy, its weighted form and over-sampling."""

from __future__ import annotations

import functools
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction

Floats = NDArray[np.float64]
TABLES = (
    "yeast4", "yeast5", "yeast6", "ecoli4", "glass2", "glass4", "abalone9-18", "vowel0", "page-blocks0", "vehicle1", "haberman",
    "winequality-red-4",
)  # fmt: skip
SMOKE_TABLES = ("ecoli4", "vehicle1")
UNITS, LEARNING_RATE = 16, 0.01
METRICS = ("f1", "gmean")
TIED = 0.005


@reproduction(
    row=25,
    slug="confusion-losses",
    title="AnyLoss: Transforming Classification Metrics into Loss Functions",
    venue="KDD 2024",
    claim=(
        "On 102 tables with single and multi layer perceptrons, 5-fold cross-validation, a loss made of the target metric wins that metric "
        "over squared error and cross-entropy on a large majority of tables, most under imbalance (win percentages unconfirmed; here: 12 "
        "imbalanced KEEL tables)"
    ),
)
def confusion_losses(scale: Scale) -> Sequence[Measured]:
    """Train networks with and without 16 hidden units on 12 tables in 5 folds, 150 steps; smoke: two tables, 2 folds, 60 steps."""
    smoke = scale == "smoke"
    tables = [_read(f"keel:{name}") for name in (SMOKE_TABLES if smoke else TABLES)]
    runs = _runs(smoke)
    found = {name: np.array([_folds(table, run, smoke) for table in tables]) for name, run in runs.items()}
    return [*_figures(found, smoke), *_reports(found, smoke)]


@dataclass(frozen=True)
class _Table:
    """Numbers [n, F], texts as indicators, and the class, 1 for the rare one."""

    X: Floats
    y: NDArray[np.int64]


def _read(name: str) -> _Table:
    from hardgrad.tabular.datasets import load_table

    data = load_table(name)
    columns: list[Any] = []
    for values in (column.to_pylist() for column in data.features.columns):
        texts = sorted({v for v in values if isinstance(v, str)})
        columns += [[float(v == text) for v in values] for text in texts] or [values]
    y = np.array([label == "positive" for label in data.table[data.target].to_pylist()])
    return _Table(np.array(columns, dtype=np.float64).T, y.astype(np.int64))


# --- training ----------------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Run:
    """A way to train.

    Parameters
    ----------
    loss : makes (scores, target, progress) -> loss, given the target.
    sample : changes the training rows.
    """

    loss: Callable[[Any], Callable[[Any, Any, float], Any]]
    sample: Callable[[Floats, NDArray[np.int64]], tuple[Floats, NDArray[np.int64]]] | None = None


def _runs(smoke: bool) -> dict[str, _Run]:
    runs = {
        "cross-entropy": _Run(functools.partial(_cross_entropy, weighted=False)),
        "weighted": _Run(functools.partial(_cross_entropy, weighted=True)),
        **{metric: _Run(functools.partial(_metric_loss, metric=metric)) for metric in METRICS},
    }
    if not smoke and importlib.util.find_spec("imblearn"):
        runs["SMOTE"] = _Run(functools.partial(_cross_entropy, weighted=False), sample=_over_sampled)
    return runs


def _cross_entropy(y: Any, weighted: bool) -> Callable[[Any, Any, float], Any]:
    import torch

    positive = (len(y) - y.sum()) / y.sum() if weighted else torch.tensor(1.0)
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=positive)

    def at(scores: Any, target: Any, progress: float) -> Any:
        return loss(scores, target)

    return at


def _metric_loss(y: Any, metric: str) -> Callable[[Any, Any, float], Any]:
    from hardgrad import Schedule
    from hardgrad.losses import ConfusionMetricLoss

    loss = ConfusionMetricLoss(metric, Schedule.exponential(0.1, 0.02))

    def at(scores: Any, target: Any, progress: float) -> Any:
        loss.progress = progress
        return loss(scores, target)

    return at


def _over_sampled(X: Floats, y: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    from imblearn.over_sampling import SMOTE

    smote = SMOTE(random_state=0, k_neighbors=min(5, int(y.sum()) - 1))
    X, y = smote.fit_resample(X, y)
    return X, y


def _folds(table: _Table, run: _Run, smoke: bool) -> Floats:
    """Return what `_held_out` returns for each depth of network, mean of the folds."""
    from sklearn.model_selection import StratifiedKFold

    splits = list(StratifiedKFold(2 if smoke else 5, shuffle=True, random_state=0).split(table.X, table.y))
    steps = 60 if smoke else 150
    values = [
        [_held_out(table, train, test, run, hidden, fold, steps) for fold, (train, test) in enumerate(splits)]
        for hidden in (False, True)
    ]
    means: Floats = np.array(values).mean(axis=1)
    return means


def _held_out(
    table: _Table, train: Any, test: Any, run: _Run, hidden: bool, seed: int, steps: int
) -> list[float]:
    """Return F1 and G-mean on held-out rows at the threshold 1/2; both at the best one of the training rows; the seconds of training."""
    from hardgrad.losses import ConfusionCounts, tune_threshold

    X, y = table.X[train], table.y[train]
    mean, spread = X.mean(0), X.std(0)
    X, X_test = ((part - mean) / np.where(spread > 0, spread, 1.0) for part in (X, table.X[test]))
    if run.sample is not None:
        X, y = run.sample(X, y)
    begun = time.perf_counter()
    score = _trained(X, y, run, hidden, seed, steps)
    seconds = time.perf_counter() - begun
    fitted, scores = score(X), score(X_test)

    def at(threshold: float, metric: str) -> float:
        return float(ConfusionCounts.from_labels(scores > threshold, table.y[test]).metric(metric))

    tuned = [at(tune_threshold(fitted, y, metric).threshold, metric) for metric in METRICS]
    return [*(at(0.0, metric) for metric in METRICS), *tuned, seconds]


def _trained(
    X: Floats, y: NDArray[np.int64], run: _Run, hidden: bool, seed: int, steps: int
) -> Callable[[Floats], Floats]:
    """Return the log-odds of a network that was trained on all rows at once; it starts at a bias of 0."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = [nn.Linear(X.shape[1], UNITS), nn.ReLU()] if hidden else []
        last = nn.Linear(UNITS if hidden else X.shape[1], 1)
    nn.init.zeros_(last.bias)
    network = nn.Sequential(*first, last)
    inputs, target = torch.from_numpy(X).float(), torch.from_numpy(y).float()
    loss = run.loss(target)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for step in range(steps):
        optimizer.zero_grad()
        loss(network(inputs).squeeze(1), target, step / (steps - 1)).backward()
        optimizer.step()

    def score(rows: Floats) -> Floats:
        with torch.no_grad():
            return np.asarray(network(torch.from_numpy(rows).float()).squeeze(1).numpy())

    return score


# --- figures -----------------------------------------------------------------------------------------------------------------------------
def _figures(found: dict[str, Floats], smoke: bool) -> list[Measured]:
    bounds = {"f1": (0.05, -0.01), "gmean": (0.15, -0.03)}
    figures = []
    for place, metric in enumerate(METRICS):
        own, plain, weighted = (found[name][..., place] for name in (metric, "cross-entropy", "weighted"))
        over, under = (-0.1, -0.1) if smoke else bounds[metric]
        wins = float(np.mean(own.mean(1) >= plain.mean(1) - TIED))
        figures += [
            Measured.at_least(
                f"{metric} of {metric} loss less that of cross-entropy", (own - plain).mean(), over
            ),
            Measured.at_least(
                f"{metric} of {metric} loss less that of weighted cross-entropy",
                (own - weighted).mean(),
                under,
            ),
            Measured.at_least(
                f"{metric} loss best or tied against cross-entropy, share of tables",
                wins,
                0.5 if smoke else 0.6,
            ),
        ]
    return figures


def _reports(found: dict[str, Floats], smoke: bool) -> list[Measured]:
    figures = []
    for name, values in found.items():
        # A tuned threshold is the rival that needs no other loss.
        for place, how in ((0, name), (2, f"{name} at a tuned threshold"))[
            : 2 if name == "cross-entropy" else 1
        ]:
            figures += [
                Measured.reported(f"{metric}, {how}, {depth}", float(values[:, layers, place + k].mean()))
                for k, metric in enumerate(METRICS)
                for layers, depth in enumerate(("one layer", "two layers"))
            ]
    if not smoke:
        seconds = {name: float(found[name][..., 4].mean()) for name in ("f1", "cross-entropy")}
        figures.append(
            Measured.reported(
                "time of F1 loss over that of cross-entropy", seconds["f1"] / seconds["cross-entropy"]
            )
        )
    return figures
