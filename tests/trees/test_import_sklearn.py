"""scikit-learn estimators: leaves always equal, raw scores equal bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from import_checks import assert_same_bits, assert_same_leaves, stress_matrix
from sklearn import ensemble, tree
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.trees.importers import import_forest

pd = pytest.importorskip("pandas")
ROWS = 1500
CLASSIFIERS = [
    lambda s: tree.DecisionTreeClassifier(max_depth=6, random_state=s),
    lambda s: tree.ExtraTreeClassifier(random_state=s),
    lambda s: ensemble.RandomForestClassifier(7, random_state=s),
    lambda s: ensemble.ExtraTreesClassifier(5, random_state=s, criterion="log_loss"),
]
REGRESSORS = [
    lambda s: tree.DecisionTreeRegressor(random_state=s),
    lambda s: ensemble.RandomForestRegressor(6, random_state=s, max_features=0.5),
    lambda s: ensemble.ExtraTreesRegressor(5, random_state=s, min_samples_leaf=3),
]


def table(rng: np.random.Generator, n: int = 200, missing: float = 0.0) -> np.ndarray:
    X = np.column_stack(
        [rng.normal(size=n), rng.integers(-3, 4, n), 1e-3 * rng.normal(size=n), 1e6 * rng.exponential(size=n)]
    )
    X[rng.random(X.shape) < missing] = np.nan
    return X


@given(
    seed=st.integers(0, 10_000),
    missing=st.sampled_from([0.0, 0.2]),
    make=st.sampled_from(CLASSIFIERS),
    k=st.integers(2, 4),
)
def test_classifiers(seed, missing, make, k):
    rng = np.random.default_rng(seed)
    X, y = table(rng, missing=missing), np.array(["a", "b", "c", "é"])[rng.integers(0, k, 200)]
    model = make(seed).fit(X, y)
    forest = import_forest(model)
    rows = stress_matrix(forest, ROWS, seed, infinite=False, missing=missing and 0.1)
    assert_same_leaves(forest.apply(rows), model.apply(rows))
    assert_same_bits(forest.predict_proba(rows), model.predict_proba(rows))
    assert (forest.predict(rows) == model.predict(rows)).all()


@given(
    seed=st.integers(0, 10_000),
    missing=st.sampled_from([0.0, 0.2]),
    make=st.sampled_from(REGRESSORS),
    targets=st.integers(1, 3),
)
def test_regressors(seed, missing, make, targets):
    rng = np.random.default_rng(seed)
    model = make(seed).fit(
        table(rng, missing=missing), rng.normal(size=(200, targets)) if targets > 1 else rng.normal(size=200)
    )
    forest = import_forest(model)
    rows = stress_matrix(forest, ROWS, seed, infinite=False, missing=missing and 0.1)
    assert_same_leaves(forest.apply(rows), model.apply(rows))
    assert_same_bits(forest.predict(rows), model.predict(rows))


@given(
    seed=st.integers(0, 10_000),
    loss=st.sampled_from(["log_loss", "exponential", "squared_error", "absolute_error", "huber", "quantile"]),
    classes=st.integers(2, 3),
    init=st.sampled_from([None, "zero"]),
)
def test_gradient_boosting(seed, loss, classes, init):
    rng = np.random.default_rng(seed)
    X, options = (
        table(rng),
        {"n_estimators": 4, "loss": loss, "init": init, "random_state": 0, "learning_rate": 0.3},
    )
    if loss not in ("log_loss", "exponential"):
        model = ensemble.GradientBoostingRegressor(**options).fit(X, rng.normal(size=200))
    else:
        y = rng.integers(0, classes if loss == "log_loss" else 2, 200)
        model = ensemble.GradientBoostingClassifier(**options).fit(X, y)
    forest = import_forest(model)
    rows = stress_matrix(forest, ROWS, seed, infinite=False, missing=0.0)
    assert_same_leaves(forest.apply(rows), model.apply(rows))
    if loss not in ("log_loss", "exponential"):
        assert_same_bits(forest.predict(rows), model.predict(rows))
        return
    scale = 2.0 if loss == "exponential" else 1.0
    assert_same_bits(forest.predict_raw(rows), scale * model.decision_function(rows))
    np.testing.assert_allclose(forest.predict_proba(rows), model.predict_proba(rows), rtol=1e-12, atol=1e-15)


@given(
    seed=st.integers(0, 10_000),
    missing=st.sampled_from([0.0, 0.3]),
    loss=st.sampled_from(["log_loss", "squared_error", "absolute_error"]),
    classes=st.integers(2, 3),
)
def test_histogram_gradient_boosting(seed, missing, loss, classes):
    rng = np.random.default_rng(seed)
    X, options = (
        table(rng, missing=missing),
        {"max_iter": 4, "min_samples_leaf": 3, "loss": loss, "random_state": 0},
    )
    if loss == "log_loss":
        model = ensemble.HistGradientBoostingClassifier(**options).fit(X, rng.integers(0, classes, 200))
    else:
        model = ensemble.HistGradientBoostingRegressor(**options).fit(X, rng.normal(size=200))
    forest = import_forest(model)
    rows = stress_matrix(forest, ROWS, seed)
    assert_same_bits(forest.predict_raw(rows), model._raw_predict(rows, n_threads=1).reshape(len(rows), -1))
    if loss == "log_loss":
        np.testing.assert_allclose(
            forest.predict_proba(rows), model.predict_proba(rows), rtol=1e-12, atol=1e-15
        )
        assert (forest.predict(rows) == model.predict(rows)).all()


@pytest.mark.parametrize("frame", [True, False])
def test_histogram_categories(frame):
    rng = np.random.default_rng(0)

    def make(n: int, names: list) -> pd.DataFrame:
        drawn = rng.choice(np.array([*names, None], dtype=object), n)
        return pd.DataFrame(
            {
                "a": rng.normal(size=n),
                "état": pd.Categorical(drawn, categories=names),
                "b": rng.integers(0, 9, n).astype(float),
            }
        )

    X = make(500, ["z", "", "O'x", "日本", "k"])
    y = rng.normal(size=500) + X["état"].isin(["z", "k"]) * 3 + (X["b"] % 3 == 1)
    options = {"categorical_features": "from_dtype"} if frame else {"categorical_features": [2]}
    train = X if frame else np.column_stack([X["a"], X["b"], X["b"] + 2.0])
    model = ensemble.HistGradientBoostingRegressor(max_iter=8, min_samples_leaf=3, **options).fit(train, y)
    forest = import_forest(model)
    assert [c.kind for c in forest.schema.columns] == (
        ["numeric", "categorical", "numeric"] if frame else ["numeric", "numeric", "categorical"]
    )
    rows = make(2000, ["z", "", "O'x", "日本", "k", "new", "Z"])
    if not frame:
        rows = np.column_stack(
            [rows["a"], rows["b"], rng.choice([2, 3, 5, 10, 11, 2.5, np.nan, 99, -1], len(rows))]
        )
    assert_same_bits(forest.predict(rows), model.predict(rows))
    assert len(forest.schema.features) > 3


def test_names_columns_and_raw():
    rng = np.random.default_rng(1)
    X, y = table(rng), rng.integers(0, 2, 200)
    model = ensemble.RandomForestClassifier(3, random_state=0).fit(X, y)
    assert import_forest(model).schema.names == ("x0", "x1", "x2", "x3")
    data = pd.DataFrame(X, columns=list("wxyz")).assign(x=y == 1)
    forest = import_forest(model, data=data)
    assert forest.schema.names == tuple("wxyz") and forest.schema.columns[1].kind == "boolean"
    assert import_forest(model, raw=True).task == "regression"
    assert import_forest(ensemble.RandomForestClassifier(2).fit(data, y)).schema.names == tuple("wxyz")


def test_deep_trees_do_not_recurse():
    X = np.arange(3000.0)[:, None]
    model = tree.DecisionTreeRegressor().fit(X, np.cumsum(1.001 ** np.arange(3000)))
    forest = import_forest(model)
    np.testing.assert_array_equal(forest.predict(X), model.predict(X))


def test_refusals():
    rng = np.random.default_rng(2)
    X, y = table(rng), rng.integers(0, 2, 200)
    with pytest.raises(ParameterError, match="not fitted"):
        import_forest(ensemble.RandomForestClassifier())
    with pytest.raises(ExportError, match="LinearRegression"):
        import_forest(LinearRegression().fit(X, y))
    with pytest.raises(ExportError, match="one class only"):
        import_forest(tree.DecisionTreeClassifier().fit(X, np.zeros(200)))
    with pytest.raises(ExportError, match="2 class labels at once"):
        import_forest(tree.DecisionTreeClassifier().fit(X, np.stack([y, 1 - y], 1)))
    with pytest.raises(ExportError, match="starts from a DecisionTreeRegressor"):
        start = tree.DecisionTreeRegressor(max_depth=1)
        import_forest(
            ensemble.GradientBoostingRegressor(n_estimators=2, init=start).fit(X, rng.normal(size=200))
        )
    with pytest.raises(ExportError, match="exp"):
        import_forest(ensemble.HistGradientBoostingRegressor(max_iter=2, loss="poisson").fit(X, y + 1))
    with pytest.raises(ParameterError, match="expected a path, or a model"):
        import_forest(3)
    with pytest.raises(ParameterError, match="data is a int"):
        import_forest(tree.DecisionTreeRegressor().fit(X, y), data=3)
    with pytest.raises(NotFittedError):
        tree.DecisionTreeRegressor().predict(X)
