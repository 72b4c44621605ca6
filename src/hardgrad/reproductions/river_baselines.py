"""The package river as a baseline on streams, where it is installed: rows one by one, as it learns them. No reproduction lives here."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MODELS = {
    "river's Hoeffding tree": ("river.tree", "HoeffdingTreeClassifier", {}),
    "river's adaptive random forest": ("river.forest", "ARFClassifier", {"n_models": 10, "seed": 0}),
    "river's naive Bayes": ("river.naive_bayes", "GaussianNB", {}),
}


def river_accuracies(X: Floats, y: NDArray[Any], X_test: Floats, y_test: NDArray[Any]) -> dict[str, float]:
    """Return the accuracy on test rows of each model after one pass over the rows in their order; empty where river is missing."""
    if importlib.util.find_spec("river") is None:
        return {}
    found = {}
    for name, (module, model_name, options) in MODELS.items():
        model: Any = getattr(importlib.import_module(module), model_name)(**options)
        for row, label in zip(X.tolist(), y.tolist(), strict=True):
            model.learn_one(dict(enumerate(row)), label)
        said = [model.predict_one(dict(enumerate(row))) for row in X_test.tolist()]
        found[name] = float(np.mean([a == b for a, b in zip(said, y_test.tolist(), strict=True)]))
    return found
