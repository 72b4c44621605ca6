"""Row 59, forests as adaptive smoothers: effective parameters on training and on new rows of MARSadd, and the three mechanisms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction

Floats = NDArray[np.float64]
RATIOS = (0.5, 1.0, 5.0)  # of signal to noise


@reproduction(
    row=59,
    slug="forest-smoothers",
    title="Why do Random Forests Work? Understanding Tree Ensembles as Self-Regularizing Adaptive Smoothers",
    venue="Curth, Jeffares and van der Schaar, 2024",
    claim=(
        "forests smooth more than their trees, and more at test time than at training time; the gap grows with the number of trees and "
        "the randomness of features; boosting too uses fewer effective parameters at test time (MARSadd and OpenML tables; figures of "
        "the paper unconfirmed)"
    ),
)
def forest_smoothers(scale: Scale) -> Sequence[Measured]:
    """Grow forests on MARSadd; full: 200 trees on 300 rows, tested on 500, at three ratios; smoke: 60 trees at one ratio."""
    smoke = scale == "smoke"
    figures: list[Measured] = []
    for ratio in RATIOS[1:2] if smoke else RATIOS:
        task = _mars(ratio)
        figures += _forest_figures(task, 60 if smoke else 200)
        figures += _boosting_figures(task, 60 if smoke else 200)
    return figures + _mechanisms(_mars(1.0), *((20, 3) if smoke else (100, 10)))


@dataclass(frozen=True)
class _Task:
    """Rows of MARSadd, their targets with and without noise, and the noise's standard deviation."""

    ratio: float
    X: Floats
    y: Floats
    X_test: Floats
    y_test: Floats
    clean: Floats
    clean_test: Floats
    sigma: float


def _mars(ratio: float) -> _Task:
    """Five features that count, padded to ten; the noise is set by the signal's variance."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(800, 10))
    step = 4.0 / (1.0 + np.exp(-20.0 * (X[:, 1] - 0.5)))
    clean = 0.1 * np.exp(4.0 * X[:, 0]) + step + 3.0 * X[:, 2] + 2.0 * X[:, 3] + X[:, 4]
    sigma = float(clean.std() / np.sqrt(ratio))
    y = clean + rng.normal(0.0, sigma, len(clean))
    return _Task(ratio, X[:300], y[:300], X[300:], y[300:], clean[:300], clean[300:], sigma)


def _forest(trees: int, max_features: float, seed: int = 0) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(trees, max_features=max_features, random_state=seed, n_jobs=1)


def _squared(model: Any, task: _Task) -> float:
    return float(np.mean((model.predict(task.X_test) - task.y_test) ** 2))


def _forest_figures(task: _Task, trees: int) -> list[Measured]:
    from scipy.stats import spearmanr
    from sklearn.tree import DecisionTreeRegressor

    from hardgrad.trees import SmoothingReport, smoother_matrix

    at = f"ratio {task.ratio:g}"
    random, plain = (_forest(trees, share).fit(task.X, task.y) for share in (1 / 3, 1.0))
    report, other = (SmoothingReport.measure(model, task.X, task.X_test) for model in (random, plain))
    S = smoother_matrix(random, task.X, task.X_test)
    single = _squared(DecisionTreeRegressor(random_state=0).fit(task.X, task.y), task)
    curve = [
        Measured.reported(f"{at}: effective parameters of {count} trees, {where}", figures[count - 1])
        for count in (1, 10, trees)
        for where, figures in (("train", report.train), ("test", report.test))
    ]
    return [
        *curve,
        Measured.at_most(f"{at}: effective parameters, test over train, max_features 1/3", report.test[-1] / report.train[-1], 0.15),
        Measured.reported(f"{at}: effective parameters, test over train, max_features 1", other.test[-1] / other.train[-1]),
        Measured.at_most(f"{at}: rank correlation of test parameters and trees", float(spearmanr(report.trees, report.test)[0]), -0.99),
        Measured.reported(f"{at}: squared error of a single full tree", single),
        Measured.reported(f"{at}: squared error of the forest, max_features 1", _squared(plain, task)),
        Measured.at_least(f"{at}: % by which the forest's squared error is lower", 100 * (1 - _squared(random, task) / single), 40.0),
        Measured.at_most(f"{at}: |S y - prediction|, worst", float(np.abs(S @ task.y - random.predict(task.X_test)).max()), 1e-10),
    ]  # fmt: skip


def _boosting_figures(task: _Task, trees: int) -> list[Measured]:
    from sklearn.ensemble import GradientBoostingRegressor

    from hardgrad.trees import SmoothingReport, smoother_matrix

    model = GradientBoostingRegressor(n_estimators=trees, random_state=0).fit(task.X, task.y)
    report = SmoothingReport.measure(model, task.X, task.X_test)
    off = np.abs(smoother_matrix(model, task.X, task.X_test) @ task.y - model.predict(task.X_test)).max()
    return [
        Measured.reported(f"ratio {task.ratio:g}: boosting, effective parameters, test over train", report.test[-1] / report.train[-1]),
        Measured.at_most(f"ratio {task.ratio:g}: boosting, |S y - prediction|, worst", float(off), 1e-10),
    ]  # fmt: skip


def _mechanisms(task: _Task, trees: int, repeats: int) -> list[Measured]:
    """What averaging changes: noise passed on, variability over refits, and what the class can represent without noise."""
    from hardgrad.trees import smoother_matrix

    rng = np.random.default_rng(1)
    labels = [task.clean + rng.normal(0.0, task.sigma, len(task.clean)) for _ in range(repeats)]
    figures = []
    for name, count in (("tree", 1), (f"forest of {trees}", trees)):
        noise, fits = [], []
        for seed, y in enumerate(labels):
            model = _forest(count, 1 / 3, seed).fit(task.X, y)
            S = smoother_matrix(model, task.X, task.X_test)
            noise.append(task.sigma**2 * float((S * S).sum(axis=1).mean()))
            fits.append(S @ y)
        best = [
            _forest(count, 1 / 3, seed).fit(task.X, task.clean).predict(task.X_test)
            for seed in range(repeats)
        ]
        figures += [
            Measured.reported(f"{name}: variance of the noise passed on", float(np.mean(noise))),
            Measured.reported(f"{name}: variance over labels and seeds", float(np.var(fits, axis=0).mean())),
            Measured.reported(
                f"{name}: squared error without noise", float(np.mean((best - task.clean_test) ** 2))
            ),
        ]
    return figures
