"""The figures behind the pictures, against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest

from hardgrad.core.errors import DataError
from hardgrad.report import count_node_rows, permutation_importance
from hardgrad.report.importance import encode_target, loss
from hardgrad.report.measures import confusion, reliability, residuals, threshold_table
from hardgrad.trees.forest_build import forest_from_trees
from report import fixtures

RNG = np.random.default_rng(0)


def test_node_rows_follow_every_path() -> None:
    context = fixtures.loan_context()
    forest, rows = context.forest, context.rows
    counted = np.zeros(forest.n_nodes)
    assert rows is not None
    for row in range(40):
        one = {name: values[row : row + 1] for name, values in rows.items()}
        for path in forest.decision_path(one):
            counted[path] += 2.0
    some = {name: values[:40] for name, values in rows.items()}
    assert np.array_equal(count_node_rows(forest, some, np.full(40, 2.0)), counted)


def test_reliability_is_the_weighted_mean_of_each_bin() -> None:
    p, happened, weight = RNG.random(500), RNG.random(500) < 0.4, RNG.random(500)
    found = reliability(p, happened, weight, bins=5)
    error = 0.0
    for k, (predicted, observed, total) in enumerate(
        zip(found.predicted, found.observed, found.weight, strict=True)
    ):
        inside = (p >= k / 5) & (p < (k + 1) / 5)
        assert predicted == pytest.approx(np.average(p[inside], weights=weight[inside]))
        assert observed == pytest.approx(np.average(happened[inside], weights=weight[inside]))
        assert total == pytest.approx(weight[inside].sum())
        error += total * abs(predicted - observed)
    assert found.error == pytest.approx(error / weight.sum())


def test_reliability_takes_zero_and_one_and_leaves_empty_bins_out() -> None:
    found = reliability(np.array([0.0, 1.0, 1.0]), np.array([False, True, False]), np.ones(3))
    assert found.bin.tolist() == [0, 9] and found.weight.tolist() == [1.0, 2.0]


def test_interval_is_wilsons() -> None:
    found = reliability(np.full(10, 0.55), np.arange(10) < 2, np.ones(10))
    ((low, high),) = found.interval()
    assert (low, high) == pytest.approx((0.0567, 0.5098), abs=1e-4)


def test_confusion_counts_weight() -> None:
    cells = confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), np.array([1.0, 2.0, 3.0, 4.0]), 3)
    assert cells.tolist() == [[1, 2, 0], [0, 3, 0], [4, 0, 0]]


def test_threshold_table_counts_rows_above_the_threshold() -> None:
    p = np.concatenate([RNG.random(200), np.arange(11) / 10])
    positive, weight = RNG.random(211) < 0.5, RNG.random(211)
    table = threshold_table(p, positive, weight, steps=20)
    for t, tp, fp in zip(table.threshold, table.true_positive, table.false_positive, strict=True):
        assert tp == pytest.approx(weight[(p > t) & positive].sum(), abs=1e-12)
        assert fp == pytest.approx(weight[(p > t) & ~positive].sum(), abs=1e-12)
    assert table.positive == pytest.approx(weight[positive].sum())


def test_residuals_of_a_perfect_and_of_a_constant_model() -> None:
    y, weight = RNG.normal(size=100), np.ones(100)
    perfect = residuals(y, y, weight)
    assert (perfect.r2, perfect.rmse, perfect.bias) == (1.0, 0.0, 0.0)
    constant = residuals(np.full(100, y.mean()), y, weight)
    assert constant.r2 == pytest.approx(0.0, abs=1e-12) and constant.rmse == pytest.approx(y.std())
    assert constant.count.sum() == 100
    lone = residuals(np.array([1.0]), np.array([2.0]), np.ones(1))
    assert lone.r2 == 0.0 and lone.bias == 1.0


def test_importance_is_the_rise_of_the_loss() -> None:
    step = {"feature": 0, "threshold": 0.5, "left": {"value": 0.0}, "right": {"value": 1.0}}
    forest = forest_from_trees([step], ["used", "unused"])
    X = np.column_stack([np.arange(200) % 2, RNG.normal(size=200)])
    found = permutation_importance(forest, X, X[:, 0], n_repeats=8)
    assert [item.name for item in found] == ["used"]  # a column that no node tests has none
    assert found[0].low <= found[0].value <= found[0].high
    assert found[0].value == pytest.approx(
        2.0, abs=0.2
    )  # half of the rows are wrong by 1: 0.5 over a variance of 0.25
    assert found == permutation_importance(forest, X, X[:, 0], n_repeats=8)
    assert permutation_importance(forest, X, X[:, 0], max_rows=50)[0].value == pytest.approx(2.0, abs=0.5)


def test_importance_moves_all_features_of_a_column_together() -> None:
    context = fixtures.loan_context()
    names = [item.name for item in context.importance]
    assert names[0] == "late payments" and len(set(names)) == len(names)
    assert set(names) <= set(context.forest.schema.names)


def test_loss_matches_scikit_learn() -> None:
    from sklearn.metrics import log_loss

    context = fixtures.iris_context()
    assert context.validation is not None
    raw, y = context.validation["raw"], context.validation["y"]
    ours = loss(context.forest, raw, encode_target(context.forest, y), np.ones(len(y)))
    assert ours == pytest.approx(log_loss(y, context.forest.raw_to_proba(raw)))


def test_importance_names_what_is_wrong() -> None:
    context = fixtures.iris_context()
    assert context.rows is not None
    with pytest.raises(DataError, match="'tulip', which is not one of the classes"):
        permutation_importance(context.forest, context.rows, ["tulip"] * 150)
    with pytest.raises(DataError, match="y has 3 entries, the table 150 rows"):
        permutation_importance(context.forest, context.rows, ["setosa"] * 3)
