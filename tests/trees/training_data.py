"""Rows for the tests of training."""

import numpy as np

from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.greedy import TrainingRows
from hardgrad.trees.objectives import Objective


def rows_for(kind="logistic", n=300, n_features=4, n_outputs=1, seed=0, missing=0.0):
    """(X, codes, rows, objective) with an oblique signal."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features))
    signal = X @ rng.normal(size=(n_features, max(n_outputs, 1))) + 0.3 * rng.normal(
        size=(n, max(n_outputs, 1))
    )
    if missing:
        X[rng.random(X.shape) < missing] = np.nan
    if kind == "logistic":
        Y = (signal[:, :1] > 0).astype(float)
    elif kind == "softmax":
        Y = np.eye(n_outputs)[signal.argmax(axis=1)]
    else:
        Y = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    codes = FeatureCodes.fit(X)
    weight = rng.uniform(0.5, 1.5, size=n)
    rows = TrainingRows(codes.encode(X), codes.encode_scores(X), Y, weight / weight.mean())
    return X, codes, rows, Objective(kind)
