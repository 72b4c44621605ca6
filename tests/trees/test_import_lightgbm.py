"""LightGBM's text format: leaves always equal, raw scores equal bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from import_checks import assert_same_bits, assert_same_leaves, stress_matrix

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.trees.importers import import_forest

lgb = pytest.importorskip("lightgbm")
pd = pytest.importorskip("pandas")
ROWS = 1500


def train(parameters: dict, X, y, rounds: int = 4, **options):
    """A small booster that splits wherever it can."""
    fixed = {
        "verbose": -1,
        "num_threads": 1,
        "min_data_in_leaf": 3,
        "min_data_in_bin": 1,
        "min_data_per_group": 1,
    }
    fixed |= {"cat_smooth": 0.0, "cat_l2": 0.1, "num_leaves": 9, "seed": 1}
    return lgb.train(fixed | parameters, lgb.Dataset(X, label=y, **options), rounds)


def table(rng: np.random.Generator, n: int = 300, missing: float = 0.0) -> np.ndarray:
    X = np.column_stack(
        [rng.normal(size=n), rng.integers(-3, 4, n), rng.normal(size=n) * 1e-3, rng.exponential(size=n)]
    )
    X[rng.random(X.shape) < 0.2] = 0.0
    X[rng.random(X.shape) < missing] = np.nan
    return X


def assert_exact(booster, forest, X) -> None:
    assert_same_leaves(forest.apply(X), booster.predict(X, pred_leaf=True))
    assert_same_bits(forest.predict_raw(X), booster.predict(X, raw_score=True))


@given(
    seed=st.integers(0, 10_000),
    missing=st.sampled_from([0.0, 0.2]),
    options=st.sampled_from(
        [
            {},
            {"zero_as_missing": True},
            {"use_missing": False},
            {"boosting": "dart", "drop_rate": 0.5},
            {"extra_trees": True},
        ]
    ),
    task=st.sampled_from(
        ["binary", "multiclass", "regression", "regression_l1", "huber", "quantile", "lambdarank"]
    ),
)
def test_leaves_and_raw_bits(seed, missing, options, task):
    rng = np.random.default_rng(seed)
    X = table(rng, missing=missing)
    y = (
        rng.integers(0, 3 if task == "multiclass" else 2, len(X)).astype(float)
        if "reg" not in task
        else rng.normal(size=len(X))
    )
    more = {"num_class": 3} if task == "multiclass" else {}
    booster = train(
        {"objective": task, **options, **more}, X, y, group=[len(X)] if task == "lambdarank" else None
    )
    forest = import_forest(booster)
    rows = stress_matrix(forest, ROWS, seed)
    assert_exact(booster, forest, rows)
    if task in ("binary", "multiclass"):
        theirs = booster.predict(rows)
        theirs = np.stack([1 - theirs, theirs], 1) if task == "binary" else theirs
        np.testing.assert_allclose(forest.predict_proba(rows), theirs, rtol=1e-13, atol=1e-15)
    else:
        assert_same_bits(forest.predict(rows), booster.predict(rows))


def test_zero_as_missing_with_thresholds_around_zero():
    rng = np.random.default_rng(0)
    X = rng.choice([0.0, 1e-35, 2e-35, -2e-35, 3e-35, np.nan, 1.0, -1.0], size=(400, 3))
    y = (np.nan_to_num(X[:, 0]) > 1e-35) ^ (np.nan_to_num(X[:, 1]) < 0)
    for options in ({}, {"zero_as_missing": True}, {"use_missing": False}):
        booster = train({"objective": "binary", **options}, X, y, rounds=8)
        forest = import_forest(booster)
        assert_exact(booster, forest, stress_matrix(forest, 4000))


@given(seed=st.integers(0, 10_000))
def test_numeric_category_numbers(seed):
    rng = np.random.default_rng(seed)
    X = table(rng, missing=0.1)
    X[:, 1] = rng.choice([0, 1, 2, 3, 5, 31, 32, 33, 64, np.nan], len(X))
    y = rng.normal(size=len(X)) + np.isin(X[:, 1], [1, 3, 33]) * 3.0
    booster = train(
        {"objective": "regression", "max_cat_to_onehot": 1 + seed % 5}, X, y, categorical_feature=[1]
    )
    forest = import_forest(booster)
    assert not forest.is_axis
    rows = stress_matrix(forest, ROWS, seed, infinite=False)
    wanted = np.array([0, 1, 2, 3, 4, 5, 30, 31, 32, 33, 34, 64, 65, 1000, -1, -0.5, 0.5, 2.5, np.nan])
    rows[: len(rows) // 2, 1] = rng.choice(wanted, len(rows) // 2)
    assert_exact(booster, forest, rows)


def frame(rng: np.random.Generator, n: int = 400):
    return pd.DataFrame(
        {
            "a": rng.normal(size=n),
            "état": pd.Categorical(
                rng.choice(["z", "b", "", "O'x", None], n), categories=["z", "", "b", "O'x", "unused"]
            ),
            "level": pd.Categorical(rng.integers(1, 9, n), ordered=True),
            "flag": rng.random(n) < 0.5,
        }
    )


@pytest.mark.parametrize("ordered", [False, True])
def test_data_frame_categories(ordered):
    rng = np.random.default_rng(1)
    X = frame(rng)
    if not ordered:
        X["level"] = X["level"].cat.as_unordered()
    y = rng.normal(size=len(X)) + X["état"].isin(["b", "z"]) * 2 + X["level"].astype(int)
    booster = train({"objective": "regression", "max_cat_to_onehot": 1}, X, y, rounds=12)
    if ordered:
        with pytest.raises(ExportError, match="data="):
            import_forest(booster)
    forest = import_forest(booster, data=X)
    assert [c.kind for c in forest.schema.columns] == ["numeric", "categorical", "categorical", "boolean"]
    assert forest.schema.columns[1].categories == ("", "O'x", "b", "unused", "z")
    rows = frame(np.random.default_rng(2), 3000)
    rows.loc[::7, "état"] = None
    rows["level"] = pd.Categorical(rng.choice([1, 2, 3, 5, 8, 99], len(rows)), ordered=ordered)
    assert_exact(booster, forest, rows)
    assert forest.used_features().max() >= 4


def test_text_file_without_lightgbm(tmp_path):
    rng = np.random.default_rng(3)
    X = pd.DataFrame(table(rng), columns=["age", "b c", "ÿ", "d"])
    booster = train({"objective": "binary"}, X, rng.integers(0, 2, len(X)))
    booster.save_model(tmp_path / "m.txt")
    forest = import_forest(tmp_path / "m.txt")
    assert forest.schema.names == ("age", "b_c", "ÿ", "d")  # LightGBM writes underscores for spaces
    assert import_forest(str(tmp_path / "m.txt"), columns=X.columns).schema.names == tuple(X.columns)
    assert import_forest(booster).equals(forest)
    assert_exact(booster, forest, stress_matrix(forest, ROWS))
    with pytest.raises(ParameterError, match="4 columns, columns gives 1"):
        import_forest(booster, columns=["one"])


def test_sigmoid_and_random_forest_mode():
    rng = np.random.default_rng(4)
    X, y = table(rng), rng.integers(0, 2, 300)
    for sigmoid in (2.0, 0.7):
        booster = train({"objective": "binary", "sigmoid": sigmoid}, X, y)
        forest = import_forest(booster)
        rows = stress_matrix(forest, ROWS)
        np.testing.assert_allclose(forest.predict_proba(rows)[:, 1], booster.predict(rows), rtol=1e-13)
        assert_same_leaves(forest.apply(rows), booster.predict(rows, pred_leaf=True))
    assert_same_bits(import_forest(booster, raw=True).predict(rows), booster.predict(rows, raw_score=True))
    bagged = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}
    booster = train({"objective": "binary", **bagged}, X, y, rounds=7)
    forest = import_forest(booster)
    assert_same_bits(forest.predict_raw(rows), booster.predict(rows, raw_score=True) / 7)
    np.testing.assert_allclose(forest.predict_proba(rows)[:, 1], booster.predict(rows), rtol=1e-13)
    booster = train(
        {"objective": "multiclass", "num_class": 3, **bagged}, X, rng.integers(0, 3, 300), rounds=5
    )
    np.testing.assert_allclose(import_forest(booster).predict_proba(rows), booster.predict(rows), rtol=1e-13)


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
def test_estimators_keep_labels_and_best_iteration():
    rng = np.random.default_rng(5)
    X, y = table(rng, 600), np.array(["no", "yes", "maybe"])[rng.integers(0, 3, 600)]
    model = lgb.LGBMClassifier(n_estimators=30, verbose=-1, n_jobs=1, min_child_samples=3)
    model.fit(
        X[:300], y[:300], eval_set=[(X[300:], y[300:])], callbacks=[lgb.early_stopping(2, verbose=False)]
    )
    forest = import_forest(model, columns=list("abcd"))
    assert forest.classes == ("maybe", "no", "yes") and forest.n_trees == 3 * model.best_iteration_ < 90
    rows = stress_matrix(forest, ROWS)
    assert_same_bits(forest.predict_raw(rows), model.predict_proba(rows, raw_score=True))
    assert (forest.predict(rows) == model.predict(rows)).all()
    with pytest.raises(ParameterError, match="not fitted"):
        import_forest(lgb.LGBMRegressor())


def test_single_leaf_trees_and_constant_columns():
    X = np.ones((50, 2))
    booster = train({"objective": "regression"}, X, np.arange(50.0))
    forest = import_forest(booster)
    assert forest.n_leaves == forest.n_trees >= 1
    assert_exact(booster, forest, stress_matrix(forest, 50))


@pytest.mark.parametrize(
    "parameters",
    [
        {"objective": "poisson"},
        {"objective": "multiclassova", "num_class": 2},
        {"objective": "regression", "reg_sqrt": True},
    ],
)
def test_other_links_need_raw(parameters):
    rng = np.random.default_rng(6)
    X, y = table(rng), rng.integers(0, 2, 300)
    booster = train(parameters, X, y)
    with pytest.raises(ExportError, match="raw=True"):
        import_forest(booster)
    forest = import_forest(booster, raw=True)
    assert_exact(booster, forest, stress_matrix(forest, ROWS))


def test_linear_trees_are_refused():
    rng = np.random.default_rng(7)
    booster = train({"objective": "regression", "linear_tree": True}, table(rng), rng.normal(size=300))
    with pytest.raises(ExportError, match="linear_tree=False"):
        import_forest(booster)
