"""Smoother matrices against the predictions of scikit-learn, LightGBM and XGBoost, against known counts of parameters and differences."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
import scipy.sparse as sp
import xgboost
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import kneighbors_graph
from sklearn.tree import DecisionTreeRegressor

from hardgrad.core.errors import DataError, ParameterError, UnsupportedError
from hardgrad.trees import (
    SmoothingReport,
    SmoothingRule,
    effective_parameters,
    import_forest,
    smoother_matrix,
)
from hardgrad.trees.smoothing_matrices import SmoothingProblem

N = 120
_rng = np.random.default_rng(0)
X, Q = _rng.normal(size=(N, 4)), _rng.normal(size=(50, 4))
Y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.5 * _rng.normal(size=N)
CLASS = np.where(Y > 0.3, "yes", "no")
WEIGHT = _rng.integers(1, 4, N).astype(float)
AVERAGES = [
    DecisionTreeRegressor(max_depth=4, random_state=0),
    RandomForestRegressor(15, random_state=0),
    RandomForestRegressor(15, random_state=0, max_samples=40, max_features=0.5),
    ExtraTreesRegressor(10, random_state=0),
]
BOOSTED = [
    GradientBoostingRegressor(n_estimators=20, random_state=0),
    GradientBoostingRegressor(n_estimators=20, init="zero", random_state=0),
]
PEERS = [
    HistGradientBoostingRegressor(max_iter=20, l2_regularization=2.0),
    lightgbm.LGBMRegressor(n_estimators=20, reg_lambda=1.5, min_child_samples=5, verbose=-1, n_jobs=1),
    lightgbm.LGBMRegressor(n_estimators=20, boost_from_average=False, verbose=-1, n_jobs=1),
    xgboost.XGBRegressor(n_estimators=20, n_jobs=1),
]


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("model", [*AVERAGES, *BOOSTED, *PEERS], ids=lambda m: type(m).__name__)
def test_the_matrix_times_the_targets_is_the_prediction(model: Any, weight: Any) -> None:
    model.fit(X, Y, sample_weight=weight)
    S = smoother_matrix(model, X, Q, Y, sample_weight=weight)
    assert S.shape == (len(Q), N)
    # What is not scikit-learn's plain boosting keeps its gradients in single precision.
    assert np.abs(S @ Y - model.predict(Q)).max() < (2e-6 if model in PEERS else 1e-10)
    from_mean = getattr(model, "init", None) != "zero" and getattr(model, "boost_from_average", True)
    assert np.allclose(S.sum(axis=1), 1.0) == from_mean


def test_a_start_that_targets_do_not_move() -> None:
    model = xgboost.XGBRegressor(n_estimators=10, base_score=0.7, n_jobs=1).fit(X, Y)
    S = smoother_matrix(model, X, Q, Y)
    assert np.abs(S @ (Y - 0.7) + 0.7 - model.predict(Q)).max() < 2e-6


def test_one_matrix_smooths_the_indicators_of_all_classes() -> None:
    label = np.digitize(Y, [-0.5, 0.7])
    model = RandomForestClassifier(12, random_state=0).fit(X, label)
    S = smoother_matrix(model, X, Q, label)
    assert np.allclose(S @ np.eye(3)[label], model.predict_proba(Q), atol=1e-12)


def test_sparse_and_dense_agree_and_training_rows_are_the_default() -> None:
    model = RandomForestRegressor(5, random_state=0).fit(X, Y)
    S = smoother_matrix(model, X, sparse=True)
    assert sp.issparse(S) and S.format == "csr"
    assert np.array_equal(S.toarray(), smoother_matrix(model, X, X))
    assert effective_parameters(S) == pytest.approx(effective_parameters(S.toarray()))


# --- known counts of parameters ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("depth", [1, 3, 6])
def test_a_tree_uses_as_many_parameters_as_it_has_leaves(depth: int) -> None:
    tree = DecisionTreeRegressor(max_depth=depth, random_state=0).fit(X, Y)
    assert effective_parameters(smoother_matrix(tree, X)) == pytest.approx(tree.get_n_leaves(), abs=1e-9)


def test_fully_grown_forests_interpolate_and_smooth_elsewhere() -> None:
    forest = ExtraTreesRegressor(30, random_state=0).fit(X, Y)
    assert np.allclose(smoother_matrix(forest, X), np.eye(N))
    assert effective_parameters(smoother_matrix(forest, X, Q)) < N / 4


def test_neighbours_and_constants() -> None:
    S = kneighbors_graph(X, 8, include_self=True) / 8
    assert effective_parameters(S.toarray()) == pytest.approx(N / 8)
    assert effective_parameters(np.full((3, N), 1 / N)) == pytest.approx(1.0)
    with pytest.raises(DataError, match="at least one row"):
        effective_parameters(np.empty((0, 4)))


def test_refitted_leaves_are_least_squares() -> None:
    forest = import_forest(RandomForestRegressor(6, max_depth=3, random_state=0).fit(X, Y))
    P = (forest.apply(X)[:, :, None] == np.arange(forest.n_nodes)).sum(axis=1).astype(float)
    S = smoother_matrix(forest, X, rule=SmoothingRule("refit"))
    fitted = LinearRegression(fit_intercept=False).fit(P, Y).predict(P)
    assert np.allclose(S @ Y, fitted, atol=1e-8)
    assert effective_parameters(S) == pytest.approx(np.linalg.matrix_rank(P))
    bagged = RandomForestRegressor(6, max_depth=3, random_state=0).fit(X, Y)
    assert np.allclose(
        smoother_matrix(bagged, X, rule=SmoothingRule("refit")), S
    )  # whatever the bootstrap drew
    ridge = smoother_matrix(forest, X, Q, rule=SmoothingRule("refit", ridge=0.5), sample_weight=WEIGHT)
    PQ = (forest.apply(Q)[:, :, None] == np.arange(forest.n_nodes)).sum(axis=1).astype(float)
    solved = np.linalg.solve((P.T * WEIGHT) @ P + 0.5 * np.eye(P.shape[1]), P.T * WEIGHT)
    assert np.allclose(ridge, PQ @ solved)


def test_our_artifact_with_the_rule_it_was_trained_by() -> None:
    model = GradientBoostingRegressor(n_estimators=10, learning_rate=0.2, random_state=0).fit(X, Y)
    rule = SmoothingRule("boost", learning_rate=0.2)
    assert np.allclose(smoother_matrix(import_forest(model), X, Q, rule=rule), smoother_matrix(model, X, Q))


def test_weights_of_each_tree() -> None:
    model = RandomForestRegressor(7, random_state=0).fit(X, Y)
    counts = np.stack([np.bincount(rows, minlength=N) for rows in model.estimators_samples_], axis=1)
    S = smoother_matrix(import_forest(model), X, Q, Y, sample_weight=counts)
    assert np.allclose(S, smoother_matrix(model, X, Q))


# --- the log-loss ------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingClassifier(n_estimators=8, random_state=0),
        HistGradientBoostingClassifier(max_iter=8),
        lightgbm.LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1),
        xgboost.XGBClassifier(n_estimators=8, n_jobs=1),
    ],
    ids=lambda m: type(m).__name__,
)
def test_jacobian_of_the_log_loss_against_finite_differences(model: Any) -> None:
    target = CLASS == "yes" if isinstance(model, xgboost.XGBModel) else CLASS
    model.fit(X, target)
    # The replay of the model is held against its own raw scores on the way.
    J = smoother_matrix(model, X, X, target)
    y = (CLASS == "yes").astype(float)

    def raw(targets: Any) -> Any:
        """Raw scores after the first leaves, replayed with the structure held fixed."""
        problem = SmoothingProblem.read(model, X, X, target)
        rule, at = problem.rule, [np.unique(t, return_inverse=True)[1] for t in problem.train.T]
        score = np.full(
            N,
            np.log(targets.mean() / (1 - targets.mean())) if rule.init == "mean" else problem.forest.base[0],
        )
        for leaf in at:
            p = 1 / (1 + np.exp(-score))
            step = np.bincount(leaf, targets - p) / (np.bincount(leaf, p * (1 - p)) + rule.ridge)
            score = score + rule.learning_rate * step[leaf]
        return score

    for i in (0, 17, 63):
        nudge = 1e-5 * np.eye(N)[i]
        assert np.allclose(J[:, i], (raw(y + nudge) - raw(y - nudge)) / 2e-5, rtol=1e-4, atol=1e-6)
    with pytest.raises(ParameterError, match="pass y_train"):
        smoother_matrix(model, X)


# --- the report --------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", [RandomForestRegressor(12, random_state=0), BOOSTED[0]])
def test_report_holds_the_curves_of_growing_ensembles(model: Any) -> None:
    model.fit(X, Y)
    report = SmoothingReport.measure(model, X, Q, Y)
    assert report.trees == tuple(range(1, len(report.trees) + 1))
    assert report.train[-1] == pytest.approx(effective_parameters(smoother_matrix(model, X)))
    assert report.test[-1] == pytest.approx(effective_parameters(smoother_matrix(model, X, Q)))
    assert report.to_dict()["n_train"] == N and report.verdict in str(report)
    first = type(model)(**{**model.get_params(), "n_estimators": 1}).fit(X, Y)
    assert report.test[0] == pytest.approx(effective_parameters(smoother_matrix(first, X, Q)))
    ax = report.plot()
    assert [len(line.get_xdata()) for line in ax.lines] == [len(report.trees)] * 2


def test_report_of_a_refitted_forest_and_its_verdict() -> None:
    forest = import_forest(GradientBoostingRegressor(n_estimators=4, random_state=0).fit(X, Y))
    report = SmoothingReport.measure(forest, X, X)
    assert report.trees == (4,) and len(report.train) == 1
    assert report.verdict == "no smoother on new rows"


# --- what is refused ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "named"),
    [
        (GradientBoostingRegressor(n_estimators=2, subsample=0.5), "subsample"),
        (GradientBoostingRegressor(n_estimators=2, loss="huber"), "loss"),
        (GradientBoostingRegressor(n_estimators=2, n_iter_no_change=2), "n_iter_no_change"),
        (HistGradientBoostingRegressor(max_iter=2, early_stopping=True), "early_stopping"),
        (DecisionTreeRegressor(criterion="absolute_error"), "criterion"),
        (DecisionTreeRegressor(monotonic_cst=[1, 0, 0, 0]), "monotonic_cst"),
        (lightgbm.LGBMRegressor(n_estimators=2, reg_alpha=0.3, verbose=-1), "lambda_l1"),
        (lightgbm.LGBMRegressor(n_estimators=2, subsample=0.5, subsample_freq=1, verbose=-1), "bagging_fraction"),
        (lightgbm.LGBMRegressor(n_estimators=2, objective="huber", verbose=-1), "objective"),
        (xgboost.XGBRegressor(n_estimators=2, subsample=0.5), "subsample"),
        (xgboost.XGBRegressor(n_estimators=2, booster="dart"), "booster"),
    ],
)  # fmt: skip
def test_models_that_are_no_such_smoothers(model: Any, named: str) -> None:
    with pytest.raises(UnsupportedError, match=f"trained with {named}="):
        smoother_matrix(model.fit(X, Y), X)


def test_bad_input() -> None:
    forest = RandomForestRegressor(3, random_state=0).fit(X, Y)
    boosted = BOOSTED[0].fit(X, Y)
    with pytest.raises(ParameterError, match="another number"):
        smoother_matrix(forest, X[:50])
    with pytest.raises(DataError, match="differ from the model's"):
        smoother_matrix(forest, X, Q, Y[::-1])
    with pytest.raises(DataError, match="one for each of the 120 rows"):
        smoother_matrix(forest, X, Q, Y[:7])
    with pytest.raises(DataError, match=r"expected \[120\], or \[120, 3\]"):
        smoother_matrix(forest, X, sample_weight=np.ones((N, 2)))
    with pytest.raises(UnsupportedError, match="for each tree"):
        smoother_matrix(boosted, X, sample_weight=np.ones((N, 20)))
    with pytest.raises(UnsupportedError, match="sparse=True"):
        smoother_matrix(boosted, X, sparse=True)
    with pytest.raises(DataError, match="that no training row"):
        smoother_matrix(import_forest(DecisionTreeRegressor().fit(X, Y)), X[:60], X)
    with pytest.raises(ParameterError, match="20,000 x 20,000"):
        smoother_matrix(boosted, np.zeros((20_001, 4)), X)
    balanced = RandomForestClassifier(2, class_weight="balanced").fit(X, CLASS)
    with pytest.raises(UnsupportedError, match="sample_weight"):
        smoother_matrix(balanced, X)
    three = GradientBoostingClassifier(n_estimators=2).fit(X, np.digitize(Y, [-0.5, 0.7]))
    with pytest.raises(UnsupportedError, match="3 raw scores"):
        smoother_matrix(three, X)
    for wrong in ({"leaves": "median"}, {"ridge": -1.0}, {"learning_rate": 0.0}, {"loss": "logistic"}):
        with pytest.raises(ParameterError, match="SmoothingRule got"):
            SmoothingRule(**wrong)  # type: ignore[arg-type]
