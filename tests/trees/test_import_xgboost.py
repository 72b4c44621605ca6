"""XGBoost's JSON and UBJSON: leaves always equal, raw scores equal to float32 rounding."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from import_checks import assert_same_leaves, stress_matrix

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.tabular.float_rounding import largest_double_below_float, largest_double_not_above
from hardgrad.trees.forest import Forest
from hardgrad.trees.importers import import_forest

xgb = pytest.importorskip("xgboost")
pd = pytest.importorskip("pandas")
ROWS = 1500


def train(parameters: dict, X, y, rounds: int = 4, **options):
    fixed = {"nthread": 1, "max_depth": 4, "min_child_weight": 0.01, "seed": 1, "verbosity": 0}
    return xgb.train(fixed | parameters, xgb.DMatrix(X, label=y, **options), rounds)


def table(rng: np.random.Generator, n: int = 300, missing: float = 0.0) -> np.ndarray:
    X = np.column_stack(
        [rng.normal(size=n), rng.integers(-3, 4, n), rng.normal(size=n) * 1e-3, rng.exponential(size=n) * 1e6]
    )
    X[rng.random(X.shape) < 0.2] = 0.0
    X[rng.random(X.shape) < missing] = np.nan
    return X


def assert_scores(forest: Forest, raw: np.ndarray, theirs: np.ndarray) -> None:
    """Within what float32 loses when it sums this many leaves."""
    size = np.abs(forest.base).max() + sum(
        np.abs(forest.value[a:b]).max()
        for a, b in zip(forest.tree_offset[:-1], forest.tree_offset[1:], strict=True)
    )
    bound = 2.0**-23 * (forest.n_trees + 4) * size
    np.testing.assert_allclose(raw.reshape(len(raw), -1), theirs.reshape(len(raw), -1), rtol=0, atol=bound)


def assert_exact(booster, forest, rows, **options) -> None:
    matrix = xgb.DMatrix(
        rows, feature_names=booster.feature_names, feature_types=booster.feature_types, **options
    )
    assert_same_leaves(forest.apply(rows), booster.predict(matrix, pred_leaf=True))
    assert_scores(forest, forest.predict_raw(rows), booster.predict(matrix, output_margin=True))


@given(
    seed=st.integers(0, 10_000),
    missing=st.sampled_from([0.0, 0.2]),
    options=st.sampled_from(
        [
            {},
            {"tree_method": "exact"},
            {"tree_method": "approx", "max_bin": 8},
            {"booster": "dart", "rate_drop": 0.5, "one_drop": 1},
            {"num_parallel_tree": 3, "subsample": 0.5},
            {"gamma": 1.0, "tree_method": "exact"},
            {"grow_policy": "lossguide", "max_leaves": 9, "base_score": 0.3},
        ]
    ),
    task=st.sampled_from(
        [
            "binary:logistic",
            "binary:logitraw",
            "multi:softprob",
            "multi:softmax",
            "reg:squarederror",
            "reg:absoluteerror",
        ]
    ),
)
def test_leaves_and_scores(seed, missing, options, task):
    rng = np.random.default_rng(seed)
    X = table(rng, missing=missing)
    y = (
        rng.integers(0, 3 if "multi" in task else 2, len(X)).astype(float)
        if "reg" not in task
        else rng.normal(size=len(X))
    )
    booster = train({"objective": task, **options, **({"num_class": 3} if "multi" in task else {})}, X, y)
    forest = import_forest(booster)
    rows = stress_matrix(forest, ROWS, seed, infinite=False)
    assert_exact(booster, forest, rows)
    if task in ("binary:logistic", "multi:softprob"):
        theirs = booster.predict(xgb.DMatrix(rows))
        theirs = np.stack([1 - theirs, theirs], 1) if "binary" in task else theirs
        np.testing.assert_allclose(forest.predict_proba(rows), theirs, rtol=0, atol=2e-6)


def test_infinite_values_reach_the_same_leaves():
    rng = np.random.default_rng(0)
    booster = train({}, table(rng), rng.normal(size=300), rounds=1)
    forest = import_forest(booster)
    rows = stress_matrix(forest, 3000)
    rows[:50, 0] = np.linspace(-1, 1, 50) * 1e308
    found = booster.inplace_predict(rows, predict_type="margin")  # DMatrix takes no infinite values
    assert_scores(forest, forest.predict_raw(rows), found)
    assert len(np.unique(found)) == len(np.unique(forest.predict_raw(rows))) > 8


@given(st.floats(width=32, allow_nan=False), st.floats(width=32, allow_nan=False), st.floats(allow_nan=False))
def test_threshold_conversion(t, near, x):
    candidates = np.array([t, near, x])
    single = np.array([t, near]).astype(np.float32)
    with np.errstate(over="ignore"):
        for step in (np.float32(np.inf), np.float32(-np.inf)):
            beside = np.nextafter(single, step).astype(float)
            candidates = np.concatenate([candidates, beside, single / 2 + beside / 2])
        d = largest_double_below_float(np.float32(t))
        e = largest_double_not_above(x)
        candidates = np.concatenate(
            [
                candidates,
                [d, e],
                np.nextafter([d, e], np.inf),
                np.nextafter([d, e], -np.inf),
                [np.inf, -np.inf],
            ]
        )
        if t != -np.inf:
            np.testing.assert_array_equal(candidates <= d, candidates.astype(np.float32) < np.float32(t))
        np.testing.assert_array_equal(candidates <= e, candidates.astype(np.float32).astype(float) <= x)


def test_a_threshold_of_minus_infinity_sends_no_number_left():
    rng = np.random.default_rng(0)
    booster = train({"max_depth": 1}, table(rng, missing=0.2), rng.normal(size=300), rounds=2)
    model = json.loads(booster.save_raw("json"))
    trees = model["learner"]["gradient_booster"]["model"]["trees"]
    trees[0]["split_conditions"][0], trees[1]["split_conditions"][0] = "T0", "T1"
    text = json.dumps(model).replace('"T0"', "-Infinity").replace('"T1"', "Infinity")
    changed = xgb.Booster(model_file=bytearray(text.encode()))
    forest = import_forest(changed)
    rows = stress_matrix(forest, 300)
    assert_scores(forest, forest.predict_raw(rows), changed.inplace_predict(rows))


@pytest.mark.parametrize(
    "objective", ["count:poisson", "reg:gamma", "reg:tweedie", "reg:logistic", "binary:hinge", "survival:cox"]
)
def test_other_links_need_raw(objective):
    rng = np.random.default_rng(1)
    booster = train(
        {"objective": objective},
        table(rng),
        rng.random(300).round()
        if "hinge" in objective
        else rng.random(300) + 0.01 * ("log" not in objective),
    )
    with pytest.raises(ExportError, match="raw=True"):
        import_forest(booster)
    forest = import_forest(booster, raw=True)
    assert_exact(booster, forest, stress_matrix(forest, ROWS, infinite=False))


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
def test_several_targets(strategy):
    rng = np.random.default_rng(2)
    X = table(rng, missing=0.1)
    booster = train(
        {"multi_strategy": strategy, "tree_method": "hist"},
        X,
        np.stack([rng.normal(size=300), X[:, 1] > 0, rng.random(300)], 1),
    )
    forest = import_forest(booster)
    assert forest.n_outputs == 3 and forest.n_trees == (4 if "multi" in strategy else 12)
    rows = stress_matrix(forest, ROWS, infinite=False)
    assert_scores(forest, forest.predict_raw(rows), booster.predict(xgb.DMatrix(rows)))
    if strategy == "one_output_per_tree":
        assert_exact(booster, forest, rows)


def frame(rng: np.random.Generator, n: int = 400):
    return pd.DataFrame(
        {
            "a": rng.normal(size=n),
            "état": pd.Categorical(
                rng.choice(["z", "b", "", "日本", None], n), categories=["z", "", "b", "日本"]
            ),
            "level": pd.Categorical(rng.integers(1, 40, n), categories=range(1, 40)),
            "flag": rng.random(n) < 0.5,
        }
    )


@pytest.mark.parametrize("onehot", [1, 100])
def test_data_frame_categories(tmp_path, onehot):
    rng = np.random.default_rng(3)
    X = frame(rng)
    y = (
        rng.normal(size=len(X))
        + X["état"].isin(["b", "z"]) * 2
        + np.isin(X["level"].astype(int), [3, 4, 9, 35])
    )
    booster = train({"max_cat_to_onehot": onehot}, X, y, rounds=6, enable_categorical=True)
    with pytest.raises(ExportError, match="not plain ASCII"):
        import_forest(booster)
    forest = import_forest(booster, data=X)
    assert forest.schema.columns[1].categories == ("", "b", "z", "日本")
    assert forest.schema.columns[3].kind == "boolean"
    rows = frame(np.random.default_rng(4), 3000)
    matrix = xgb.DMatrix(rows, enable_categorical=True)
    assert_same_leaves(forest.apply(rows), booster.predict(matrix, pred_leaf=True))
    assert_scores(forest, forest.predict_raw(rows), booster.predict(matrix, output_margin=True))
    for name in ("m.json", "m.ubj"):
        booster.save_model(tmp_path / name)
        assert import_forest(tmp_path / name, data=X).equals(forest)


def test_stored_ascii_categories_need_no_data():
    rng = np.random.default_rng(8)
    X = frame(rng)[["a", "level"]].assign(
        c=pd.Categorical(rng.choice(["b", "", "a'x"], 400), categories=["b", "a'x", ""])
    )
    booster = train(
        {"max_cat_to_onehot": 1}, X, X["level"].astype(int) % 7 + (X["c"] == ""), enable_categorical=True
    )
    forest = import_forest(booster)
    assert (
        forest.schema.columns[2].categories == ("", "a'x", "b")
        and forest.schema.columns[1].categories[0] == "1"
    )
    X["c"] = X["c"].cat.reorder_categories(["", "b", "a'x"])  # XGBoost finds them by name, as we do
    assert_same_leaves(
        forest.apply(X), booster.predict(xgb.DMatrix(X, enable_categorical=True), pred_leaf=True)
    )
    X["c"] = "new"  # XGBoost refuses it; here it goes where a category goes that a node does not list
    assert np.isfinite(forest.predict(X)).all()


@given(seed=st.integers(0, 10_000))
def test_numeric_category_numbers(seed):
    rng = np.random.default_rng(seed)
    X = table(rng, missing=0.1)
    X[:, 1] = rng.choice([0, 1, 2, 3, 5, 31, 32, 33, 64, np.nan], len(X))
    y = rng.normal(size=len(X)) + np.isin(X[:, 1], [1, 3, 33]) * 3.0
    types = ["float", "c", "float", "float"]
    booster = train({"max_cat_to_onehot": 1 + seed % 20}, X, y, feature_types=types, enable_categorical=True)
    forest = import_forest(booster)
    rows = stress_matrix(forest, ROWS, seed, infinite=False)
    rows[: len(rows) // 2, 1] = rng.choice(
        [0, 1, 2, 3, 5, 31, 32, 33, 64, np.nan, 1.5, 2.9999999999], len(rows) // 2
    )
    rows[:, 1] = np.where(rows[:, 1] < 0, np.nan, rows[:, 1])
    assert_exact(booster, forest, rows, enable_categorical=True)


def test_estimators_use_their_best_iterations():
    rng = np.random.default_rng(5)
    X, y = table(rng, 600), rng.integers(0, 3, 600)
    model = xgb.XGBClassifier(n_estimators=30, early_stopping_rounds=2, n_jobs=1, max_depth=3)
    model.fit(X[:300], y[:300], eval_set=[(X[300:], y[300:])], verbose=False)
    forest = import_forest(model, columns=list("abcd"))
    assert forest.n_trees == 3 * (model.best_iteration + 1) < 90 and forest.classes == (0, 1, 2)
    rows = stress_matrix(forest, ROWS, infinite=False)
    assert_same_leaves(forest.apply(rows), model.apply(rows))
    assert_scores(forest, forest.predict_raw(rows), model.predict(rows, output_margin=True))
    assert import_forest(model.get_booster()).n_trees == 3 * model.get_booster().num_boosted_rounds()


def test_refusals():
    rng = np.random.default_rng(6)
    X, y = table(rng), rng.normal(size=300)
    with pytest.raises(ExportError, match="gblinear"):
        import_forest(train({"booster": "gblinear", "updater": "coord_descent"}, X, y))
    with pytest.raises(ExportError, match=r"reads 0\.0 as missing"):
        import_forest(xgb.XGBRegressor(missing=0.0, n_estimators=1).fit(X, y))
    with pytest.raises(ParameterError, match="not fitted"):
        import_forest(xgb.XGBRegressor())
