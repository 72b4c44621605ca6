"""How each booster is called: four small adapters with one signature. What they are compared on is in `peers`. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hardgrad.trees.peers import PeerRows, Predict

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Job:
    """What is the same for every fit: classes (0 for regression), leaves a tree, categorical columns, seed, threads."""

    n_classes: int
    leaves: int
    categorical: list[int]
    random_state: int
    n_jobs: int


@dataclass(frozen=True)
class Fitted:
    """A trained booster: its prediction, its rounds, its leaves where known."""

    predict: Predict
    rounds: int
    leaves: int | None


def _two_columns(p: Floats) -> Floats:
    return np.stack([1.0 - p, p], axis=1) if p.ndim == 1 else p


def fit_lightgbm(
    job: Job, rows: PeerRows, rounds: int, rate: float, held: PeerRows | None, patience: int | None
) -> Fitted:
    """Train LightGBM through its native API."""
    import lightgbm

    parameters: dict[str, Any] = {
        "objective": "regression" if not job.n_classes else "binary" if job.n_classes == 2 else "multiclass",
        "learning_rate": rate,
        "num_leaves": max(2, job.leaves),
        "min_data_in_leaf": 20 if len(rows.y) < 1000 else 10,
        "seed": job.random_state,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": job.n_jobs,
        "verbosity": -1,
    }
    if job.n_classes > 2:
        parameters["num_class"] = job.n_classes
    data = lightgbm.Dataset(
        rows.X, rows.y, weight=rows.weight, categorical_feature=job.categorical, params=parameters
    )
    options: dict[str, Any] = {}
    if held is not None:
        options["valid_sets"] = [lightgbm.Dataset(held.X, held.y, weight=held.weight, reference=data)]
        options["callbacks"] = [lightgbm.early_stopping(patience or 1, verbose=False)]
    booster = lightgbm.train(parameters, data, num_boost_round=rounds, **options)
    used = booster.best_iteration or booster.current_iteration()
    trees = booster.dump_model(num_iteration=used)["tree_info"]

    def predict(X: Floats) -> Floats:
        p = np.asarray(booster.predict(X, num_iteration=used, num_threads=job.n_jobs), dtype=np.float64)
        return _two_columns(p) if job.n_classes else p

    return Fitted(predict, int(used), sum(int(tree["num_leaves"]) for tree in trees))


def fit_xgboost(
    job: Job, rows: PeerRows, rounds: int, rate: float, held: PeerRows | None, patience: int | None
) -> Fitted:
    """Train XGBoost through its native API, leaf-wise."""
    import xgboost

    parameters: dict[str, Any] = {
        "objective": "reg:squarederror"
        if not job.n_classes
        else "binary:logistic"
        if job.n_classes == 2
        else "multi:softprob",
        "eta": rate,
        "tree_method": "hist",
        "grow_policy": "lossguide",
        "max_depth": 0,
        "max_leaves": max(2, job.leaves),
        "seed": job.random_state,
        "nthread": job.n_jobs,
        "verbosity": 0,
    }
    if job.n_classes > 2:
        parameters["num_class"] = job.n_classes
    types = ["c" if j in job.categorical else "q" for j in range(rows.X.shape[1])]

    def matrix(X: Floats, y: NDArray[Any] | None = None, weight: Floats | None = None) -> Any:
        return xgboost.DMatrix(
            X, y, weight=weight, feature_types=types, enable_categorical=True, nthread=job.n_jobs
        )

    options: dict[str, Any] = {}
    if held is not None:
        options["evals"] = [(matrix(held.X, held.y, held.weight), "held")]
        options["callbacks"] = [xgboost.callback.EarlyStopping(rounds=patience or 1, save_best=True)]
    booster = xgboost.train(
        parameters, matrix(rows.X, rows.y, rows.weight), num_boost_round=rounds, verbose_eval=False, **options
    )

    def predict(X: Floats) -> Floats:
        p = np.asarray(booster.predict(matrix(X)), dtype=np.float64)
        return _two_columns(p) if job.n_classes else p

    leaves = sum(tree.count("leaf=") for tree in booster.get_dump())
    return Fitted(predict, int(booster.num_boosted_rounds()), leaves)


def fit_catboost(
    job: Job, rows: PeerRows, rounds: int, rate: float, held: PeerRows | None, patience: int | None
) -> Fitted:
    """Train CatBoost; its trees are symmetric, so leaves become a depth."""
    import catboost

    depth = max(1, int(np.log2(max(2, job.leaves))))
    options: dict[str, Any] = {
        "iterations": rounds,
        "learning_rate": rate,
        "depth": depth,
        "random_seed": job.random_state,
        "thread_count": job.n_jobs,
        "verbose": False,
        "allow_writing_files": False,
    }
    numeric = [j for j in range(rows.X.shape[1]) if j not in job.categorical]

    def pool(X: Floats, y: NDArray[Any] | None = None, weight: Floats | None = None) -> Any:
        texts = (
            np.where(np.isnan(X[:, job.categorical]), -1, X[:, job.categorical]).astype(np.int64).astype(str)
        )
        data = catboost.FeaturesData(
            num_feature_data=np.ascontiguousarray(X[:, numeric], dtype=np.float32) if numeric else None,
            cat_feature_data=np.char.encode(texts, "ascii").astype(object) if job.categorical else None,
        )
        return catboost.Pool(data, label=y, weight=weight)

    if job.n_classes:
        model = catboost.CatBoostClassifier(
            loss_function="Logloss" if job.n_classes == 2 else "MultiClass", **options
        )
    else:
        model = catboost.CatBoostRegressor(**options)
    early: dict[str, Any] = {}
    if held is not None:
        early = {"eval_set": pool(held.X, held.y, held.weight), "early_stopping_rounds": patience}
    model.fit(pool(rows.X, rows.y, rows.weight), **early)

    def predict(X: Floats) -> Floats:
        data = pool(X)
        return np.asarray(
            model.predict_proba(data) if job.n_classes else model.predict(data), dtype=np.float64
        )

    return Fitted(predict, int(model.tree_count_), int(model.tree_count_) * 2**depth)


def fit_histgradientboosting(
    job: Job, rows: PeerRows, rounds: int, rate: float, held: PeerRows | None, patience: int | None
) -> Fitted:
    """Train scikit-learn's HistGradientBoosting; its early stopping is given the held-out rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    options: dict[str, Any] = {
        "learning_rate": rate,
        "max_iter": rounds,
        "max_leaf_nodes": max(2, job.leaves),
        "min_samples_leaf": 20 if len(rows.y) < 1000 else 10,
        "categorical_features": job.categorical or None,
        "random_state": job.random_state,
        "early_stopping": held is not None,
        "n_iter_no_change": patience or 10,
    }
    model = (
        HistGradientBoostingClassifier(**options)
        if job.n_classes
        else HistGradientBoostingRegressor(**options)
    )
    early: dict[str, Any] = {}
    if held is not None:
        early = {"X_val": held.X, "y_val": held.y, "sample_weight_val": held.weight}
    with threadpool_limits(job.n_jobs):
        model.fit(rows.X, rows.y, sample_weight=rows.weight, **early)

    def predict(X: Floats) -> Floats:
        with threadpool_limits(job.n_jobs):
            return np.asarray(model.predict_proba(X) if job.n_classes else model.predict(X), dtype=np.float64)

    leaves = sum(tree.get_n_leaf_nodes() for trees in model._predictors for tree in trees)
    return Fitted(predict, int(model.n_iter_), int(leaves))
