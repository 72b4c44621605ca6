"""The boosters that are installed, behind one door: trained on the same rows at the same size, measured alike. Never imports torch.

LightGBM, XGBoost, CatBoost and scikit-learn's HistGradientBoosting. They are what a user would take otherwise, so `hardgrad fit` shows
one of them and `hardgrad compare` all of them. None of them is needed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError, suggestion
from hardgrad.tabular.schema import Column, Feature, TableSchema, category_numbers

Floats = NDArray[np.float64]
Predict = Callable[[Floats], Floats]

PACKAGES = {
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "catboost": "catboost",
    "histgradientboosting": "scikit-learn",
}
TITLES = {
    "lightgbm": "LightGBM",
    "xgboost": "XGBoost",
    "catboost": "CatBoost",
    "histgradientboosting": "scikit-learn HistGradientBoosting",
}
_MODULES = {"histgradientboosting": "sklearn"}
RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
MANY_ROUNDS, PATIENCE, MANY_RATE = 200, 30, 0.1


@dataclass(frozen=True)
class PeerRows:
    """Rows in the form that boosters take.

    Parameters
    ----------
    X : float64 [n, columns]; NaN is missing; a category is its number, an unseen one is missing.
    y : class numbers or values, [n].
    weight : [n].
    """

    X: Floats
    y: NDArray[Any]
    weight: Floats

    def take(self, rows: NDArray[np.int64]) -> PeerRows:
        """Return some of the rows."""
        return PeerRows(self.X[rows], self.y[rows], self.weight[rows])


@dataclass(frozen=True)
class PeerSize:
    """How large a booster may be.

    Parameters
    ----------
    rounds : boosting rounds; None for as many as early stopping takes, at most 200.
    leaves : leaves a tree.
    """

    rounds: int | None
    leaves: int = 16


@dataclass(frozen=True)
class Peer:
    """A trained booster.

    Parameters
    ----------
    name, version : of the package.
    rate : learning rate that its own held-out rows chose.
    rounds : boosting rounds.
    predict : encoded rows -> class probabilities [n, classes], or values [n].
    leaves : leaves in all its trees, None where the package does not say.
    """

    name: str
    version: str
    rate: float
    rounds: int
    predict: Predict
    leaves: int | None = None


def installed_peers() -> list[str]:
    """Return the names of the boosters that can be imported here."""
    return [name for name in PACKAGES if importlib.util.find_spec(_MODULES.get(name, name)) is not None]


def peer_matrix(columns: Sequence[Column], raw: Sequence[NDArray[Any]]) -> Floats:
    """Return raw columns as boosters take them (see `PeerRows.X`)."""
    X = np.empty((len(raw[0]) if raw else 0, len(columns)))
    for j, (column, values) in enumerate(zip(columns, raw, strict=True)):
        if column.kind == "categorical":
            numbers = category_numbers(column, values).astype(np.float64)
            X[:, j] = np.where((numbers < 0) | (numbers == len(column.categories)), np.nan, numbers)
        else:
            X[:, j] = TableSchema((column,), (Feature("x", 0),)).encode({column.name: values})[:, 0]
    X[~np.isfinite(X)] = np.nan  # not every booster takes an infinity
    return X


def train_peer(
    name: str,
    rows: PeerRows,
    columns: Sequence[Column],
    size: PeerSize,
    *,
    n_classes: int,
    random_state: int = 0,
    n_jobs: int = 1,
) -> Peer:
    """Train a booster as its user would: rate chosen on a held-out fifth, then all rows; or many rounds with early stopping.

    Parameters
    ----------
    name : one of `installed_peers()`.
    rows : training rows.
    columns : what the columns of X are; categorical ones are declared to the booster.
    size : how large it may be.
    n_classes : number of classes, 0 for regression.

    Raises
    ------
    ParameterError : the name is not known or its package is not installed.
    """
    if name not in PACKAGES:
        raise ParameterError(
            f"no booster is called {name!r}; known: {', '.join(PACKAGES)}.{suggestion(name, list(PACKAGES))}"
        )
    if name not in installed_peers():
        raise ParameterError(
            f"{PACKAGES[name]} is not installed. Install it with: pip install {PACKAGES[name]}"
        )
    from hardgrad.trees import peer_packages

    categorical = [
        j
        for j, column in enumerate(columns)
        if column.kind == "categorical" and len(column.categories) <= 250
    ]
    job = peer_packages.Job(n_classes, size.leaves, categorical, random_state, n_jobs)
    fit = getattr(peer_packages, f"fit_{name}")
    version = importlib.metadata.version(PACKAGES[name])
    inner, held = _split(rows.y, n_classes, random_state)
    if size.rounds is None:
        model = fit(job, rows.take(inner), MANY_ROUNDS, MANY_RATE, rows.take(held), PATIENCE)
        return Peer(TITLES[name], version, MANY_RATE, model.rounds, model.predict, model.leaves)
    losses = []
    for rate in RATES:
        trial = fit(job, rows.take(inner), size.rounds, rate, None, None)
        losses.append(peer_loss(trial.predict(rows.X[held]), rows.y[held], rows.weight[held], n_classes))
    best = RATES[int(np.argmin(losses))]
    model = fit(job, rows, size.rounds, best, None, None)
    return Peer(TITLES[name], version, best, model.rounds, model.predict, model.leaves)


def peer_loss(predicted: Floats, y: NDArray[Any], weight: Floats, n_classes: int) -> float:
    """Return log-loss of probabilities, or the mean squared error of values."""
    if n_classes:
        p = np.clip(predicted[np.arange(len(y)), y.astype(np.int64)], 1e-15, 1.0)
        return float(np.average(-np.log(p), weights=weight))
    return float(np.average((predicted - y) ** 2, weights=weight))


def peer_accuracy(predicted: Floats, y: NDArray[Any], weight: Floats) -> float:
    """Return the share of rows whose class is the most probable one."""
    return float(np.average(predicted.argmax(axis=1) == y, weights=weight))


def _split(y: NDArray[Any], n_classes: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A fifth of the rows, held out; by class where every class has at least two rows."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(y))
    by_class = y if n_classes and np.bincount(y.astype(np.int64), minlength=n_classes).min() >= 5 else None
    inner, held = train_test_split(rows, test_size=0.2, random_state=seed, stratify=by_class)
    return np.sort(inner), np.sort(held)
