"""A forest as a circuit: the same raw scores, bit for bit, on awkward rows; and refused where there is no grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from hardgrad.core.errors import ExportError
from hardgrad.logic import CircuitModel
from hardgrad.trees import SoftForestClassifier
from hardgrad.trees.probe import generate_rows, random_forest

OPTIONS = [
    {}, {"n_outputs": 3}, {"task": "regression", "n_outputs": 2}, {"link": "identity", "n_outputs": 3, "aggregation": "mean"},
]  # fmt: skip


def on_a_grid(forest, step=0.125):
    return replace(
        forest, value=np.round(forest.value / step) * step, base=np.round(forest.base / step) * step
    )


@pytest.mark.parametrize("seed", range(12))
def test_raw_scores_are_the_same(seed):
    options = [
        {},
        {"n_outputs": 3},
        {"task": "regression", "n_outputs": 2},
        {"link": "identity", "n_outputs": 3, "aggregation": "mean"},
    ][seed % 4]
    forest = on_a_grid(random_forest(seed, n_trees=4, max_depth=5, oblique=False, **options))
    model = CircuitModel.from_forest(forest)
    rows = generate_rows(forest, 400, random_state=seed)
    for found in (model, model.simplify()):
        np.testing.assert_array_equal(found.predict_raw(rows), forest.predict_raw(rows))
        np.testing.assert_array_equal(found.predict(rows), forest.predict(rows))
    assert model.simplify().circuit.n_gates <= model.circuit.n_gates


def test_a_forest_without_trees_or_tests():
    forest = random_forest(7, n_trees=0)
    rows = generate_rows(forest, 10, random_state=0)
    np.testing.assert_array_equal(
        CircuitModel.from_forest(replace(forest, base=np.zeros(1))).predict_raw(rows), np.zeros((10, 1))
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no grid"), ({"linear": True}, "oblique or linear"), ({"slopes": True, "task": "regression"}, "affine leaves"),
        ({"n_trees": 3, "aggregation": "mean", "link": "identity", "n_outputs": 2}, "mean of 3 trees"),
    ],
)  # fmt: skip
def test_forests_that_have_no_circuit(options, message):
    with pytest.raises(ExportError, match=message):
        CircuitModel.from_forest(
            random_forest(1, **{"n_trees": 4, "max_depth": 3, "oblique": False, **options})
        )


def test_a_base_that_is_off_the_grid_of_the_leaves():
    forest = random_forest(2, n_trees=4, max_depth=4, oblique=False)
    forest = replace(
        forest, value=np.round(forest.value / 0.125) * 0.125, base=np.full(1, np.float32(0.1), np.float64)
    )
    rows = generate_rows(forest, 200, random_state=0)
    np.testing.assert_array_equal(
        CircuitModel.from_forest(forest).predict_raw(rows), forest.predict_raw(rows)
    )


def test_a_compressed_forest_has_a_circuit():
    X, y = load_breast_cancer(return_X_y=True)
    forest = (
        SoftForestClassifier(
            n_estimators=3, max_depth=2, split="axis", budget="200B", max_iter=20, random_state=0
        )
        .fit(X[:200], y[:200])
        .forest_
    )
    model = CircuitModel.from_forest(forest)
    np.testing.assert_array_equal(model.predict_raw(X), forest.predict_raw(X))
