"""What the command measures of a model, held against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from hardgrad.cli.training import build_estimator, find_estimator, measure
from hardgrad.core.errors import RegistryError
from hardgrad.trees.probe import generate_rows, random_forest


@pytest.mark.parametrize(
    "options",
    [
        {"n_outputs": 1},
        {"n_outputs": 2, "link": "softmax", "classes": ("no", "yes")},
        {"n_outputs": 2, "link": "identity", "aggregation": "mean", "classes": ("no", "yes")},
    ],
)
def test_two_classes_are_measured_alike_whatever_the_scores(options: dict[str, object]) -> None:
    model = random_forest(3, n_trees=4, max_depth=3, **options)  # type: ignore[arg-type]
    rows = generate_rows(model, 200, random_state=0)
    raw = model.predict_raw(rows)
    if options.get("link") == "identity":
        raw = np.abs(raw) / np.abs(raw).sum(axis=1, keepdims=True)
    y = np.array(model.classes)[np.random.default_rng(0).integers(0, 2, len(raw))]
    found = measure(model, raw, y, np.ones(len(y)))
    p = model.raw_to_proba(raw)[:, 1]
    second = y == model.classes[1]
    assert found["auc"] == pytest.approx(roc_auc_score(second, p))
    assert found["log_loss"] == pytest.approx(log_loss(second, p), rel=1e-9)
    assert found["accuracy"] == pytest.approx(accuracy_score(y, model.raw_to_prediction(raw)))


def test_models_are_found_by_their_names_in_short() -> None:
    assert find_estimator("meta-tree", "classification") == "MetaTreeClassifier"
    assert find_estimator("neighbourhood", "regression") == "NeighbourhoodRegressor"
    assert find_estimator("circuit", "classification") == "LogicGateClassifier"
    assert find_estimator("circuit", "regression") == "LogicGateRegressor"
    assert (
        build_estimator(
            "optimal_tree_ensemble", "classification", {"n_jobs": 2, "random_state": 0}
        ).n_estimators
        == 1
    )
    with pytest.raises(RegistryError, match="no estimator is called"):
        build_estimator("oracle", "classification", {})
