"""The competitors of `small_tables.py`: LightGBM at our size, tuned in two ways, and three boosters without a budget. One thread each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from sklearn.model_selection import train_test_split

RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
ROUNDS, PATIENCE = 200, 30
Folds = Sequence[tuple[np.ndarray, np.ndarray]]


def loss(output: np.ndarray, y: np.ndarray, n_classes: int) -> float:
    """Return log-loss of probabilities [n, classes], or mean squared error of values [n]."""
    if not n_classes:
        return float(np.mean((output - y) ** 2))
    return float(-np.log(np.clip(output[np.arange(len(y)), y], 1e-15, 1.0)).mean())


def accuracy(output: np.ndarray, y: np.ndarray) -> float:
    """Return percent of rows whose most probable class is the true one."""
    return 100 * float(np.mean(output.argmax(axis=1) == y))


def held_out_fifth(y: np.ndarray, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows to train on and rows to tune on."""
    inner, held = train_test_split(
        np.arange(len(y)), test_size=0.2, random_state=seed, stratify=y if n_classes else None
    )
    return inner, held


@dataclass(frozen=True)
class Boosted:
    """A trained LightGBM and the rate that it was given."""

    booster: lightgbm.Booster
    n_classes: int
    rate: float

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities [n, classes], or values [n]."""
        return _outputs(self.booster.predict(X, num_threads=1), self.n_classes)


def _outputs(p: Any, n_classes: int) -> np.ndarray:
    p = np.asarray(p, dtype=np.float64)
    return np.stack([1 - p, p], axis=1) if n_classes == 2 and p.ndim == 1 else p


@dataclass(frozen=True)
class Size:
    """Rounds, leaves and depth (-1: not bounded) of a LightGBM."""

    rounds: int
    leaves: int = 16
    depth: int = 4


def train(X: np.ndarray, y: np.ndarray, n_classes: int, size: Size, rate: float, seed: int) -> Boosted:
    """Train LightGBM; a leaf holds as many rows as ours must."""
    options: dict[str, Any] = {
        "objective": "regression" if not n_classes else "binary" if n_classes == 2 else "multiclass",
        "learning_rate": rate,
        "max_depth": size.depth,
        "num_leaves": size.leaves,
        "min_data_in_leaf": 20 if len(y) < 1000 else 10,
        "num_threads": 1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    if n_classes > 2:
        options["num_class"] = n_classes
    return Boosted(lightgbm.train(options, lightgbm.Dataset(X, y), size.rounds), n_classes, rate)


def baseline_a(X: np.ndarray, y: np.ndarray, n_classes: int, size: Size, seed: int) -> Boosted:
    """Rate by the loss on a held-out fifth; the model that was trained on the other four fifths."""
    inner, held = held_out_fifth(y, n_classes, seed)
    tried = [train(X[inner], y[inner], n_classes, size, rate, seed) for rate in RATES]
    return min(tried, key=lambda model: loss(model.predict(X[held]), y[held], n_classes))


def baseline_b(X: np.ndarray, y: np.ndarray, n_classes: int, size: Size, seed: int, folds: Folds) -> Boosted:
    """Rate by the loss out of the given folds; trained again on all rows."""

    def out_of_fold(rate: float) -> float:
        losses = []
        for rows, held in folds:
            model = train(X[rows], y[rows], n_classes, size, rate, seed)
            losses.append((loss(model.predict(X[held]), y[held], n_classes), len(held)))
        return float(np.average([value for value, _ in losses], weights=[count for _, count in losses]))

    return train(X, y, n_classes, size, min(RATES, key=out_of_fold), seed)


# --- without a budget --------------------------------------------------------------------------------------------------------------------
def _lightgbm(X: np.ndarray, y: np.ndarray, held: np.ndarray, inner: np.ndarray, seed: int) -> Any:
    model = lightgbm.LGBMClassifier(
        n_estimators=ROUNDS, num_leaves=15, learning_rate=0.08, n_jobs=1, random_state=seed, verbosity=-1
    )
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    return model.fit(X[inner], y[inner], eval_set=[(X[held], y[held])], callbacks=[stop])


def _xgboost(X: np.ndarray, y: np.ndarray, held: np.ndarray, inner: np.ndarray, seed: int) -> Any:
    import xgboost

    model = xgboost.XGBClassifier(
        n_estimators=ROUNDS,
        max_depth=5,
        learning_rate=0.1,
        n_jobs=1,
        random_state=seed,
        early_stopping_rounds=PATIENCE,
    )
    return model.fit(X[inner], y[inner], eval_set=[(X[held], y[held])], verbose=False)


def _catboost(X: np.ndarray, y: np.ndarray, held: np.ndarray, inner: np.ndarray, seed: int) -> Any:
    import catboost

    model = catboost.CatBoostClassifier(
        iterations=ROUNDS, thread_count=1, random_seed=seed, verbose=False, allow_writing_files=False
    )
    return model.fit(X[inner], y[inner], eval_set=(X[held], y[held]), early_stopping_rounds=PATIENCE)


PEERS: dict[str, Callable[..., Any]] = {"LightGBM": _lightgbm, "XGBoost": _xgboost, "CatBoost": _catboost}


def peer_outputs(name: str, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, seed: int) -> np.ndarray:
    """Return test probabilities of a booster with up to 200 rounds, stopped early on a held-out fifth."""
    inner, held = held_out_fifth(y, 2, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # feature names, deprecations inside the peers
        model = PEERS[name](X, y, held, inner, seed)
        return np.asarray(model.predict_proba(X_test), dtype=np.float64)
