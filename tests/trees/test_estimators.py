"""The estimators: splits, weights, tables, multi-output, few rows, the sum of two forests."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_classification

from hardgrad.core.errors import DataError, SchemaError
from hardgrad.train.checkpoint import checkpointing
from hardgrad.trees import SoftForestClassifier, SoftForestRegressor

QUICK = {"n_estimators": 2, "max_depth": 3, "max_iter": 60, "random_state": 0}


@pytest.mark.parametrize("split", ["sparse_oblique", "axis", "oblivious"])
def test_every_split_learns_and_keeps_its_form(split):
    X, y = load_breast_cancer(return_X_y=True)
    model = SoftForestClassifier(split=split, **QUICK).fit(X, y)
    assert model.score(X, y) > 0.94
    if split != "sparse_oblique":
        assert model.forest_.is_axis or split == "oblivious"
    assert np.allclose(model.soft_.predict_raw(X[:5], mode="hard").shape, (5, 1))


def test_oblique_splits_win_where_the_boundary_is_oblique():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 6))
    y = X[:, :3].sum(axis=1) > 0
    fit, test = slice(0, 2000), slice(2000, 3000)
    scores = {
        split: SoftForestClassifier(1, 3, split=split, max_iter=300, random_state=0)
        .fit(X[fit], y[fit])
        .score(X[test], y[test])
        for split in ("sparse_oblique", "axis")
    }
    assert scores["sparse_oblique"] > scores["axis"] + 0.05


def test_weights_count_like_repeated_rows():
    X, y = load_iris(return_X_y=True)
    weight = np.random.default_rng(0).integers(1, 4, len(y))
    few = {
        "n_estimators": 1,
        "max_depth": 2,
        "l1": (),
        "leaf_refit": False,
        "validation_fraction": 0.2,
        "random_state": 0,
    }
    weighted = SoftForestClassifier(**few).fit(X, y, sample_weight=weight)
    repeated = SoftForestClassifier(**few).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert (weighted.predict(X) == repeated.predict(X)).mean() > 0.95
    twice, without = np.vstack([X, X + 100]), np.append(np.ones(150), np.zeros(150))
    nothing = SoftForestClassifier(**few).fit(twice, np.append(y, 2 - y), sample_weight=without)
    alone = SoftForestClassifier(**few).fit(X, y)
    assert np.array_equal(nothing.predict(X), alone.predict(X))
    with pytest.raises(DataError, match="negative"):
        SoftForestClassifier(**few).fit(X, y, sample_weight=-np.ones(150))


def test_class_weight_moves_the_boundary():
    X, y = make_classification(1500, weights=[0.95], flip_y=0.05, random_state=0)
    plain = SoftForestClassifier(**QUICK).fit(X, y).predict(X).mean()
    balanced = SoftForestClassifier(class_weight="balanced", **QUICK).fit(X, y).predict(X).mean()
    assert balanced > plain


def test_several_targets_and_their_units():
    X, y = load_diabetes(return_X_y=True)
    Y = np.stack([y, 1000 * X[:, 2]], axis=1)
    model = SoftForestRegressor(**QUICK).fit(X, Y)
    assert model.predict(X).shape == Y.shape
    assert model.score(X, Y) > 0.4
    assert model.gap_.metric == "rmse"


def _frame(n=400):
    rng = np.random.default_rng(0)
    city = rng.choice(["Zürich", "O'Hara", 'say "hi"', ""], n)
    since = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D")
    columns = {"city": city, "age": rng.normal(40, 10, n), "member": rng.random(n) < 0.5, "since": since}
    frame = pd.DataFrame(columns)
    frame.loc[::17, "city"] = None
    frame.loc[::13, "age"] = np.nan
    y = np.where((city == "Zürich") | (frame["age"] > 45), "yes", "no")
    return frame, y


@pytest.mark.parametrize(
    "convert", [lambda f: f, pl.from_pandas, pa.Table.from_pandas], ids=["pandas", "polars", "arrow"]
)
def test_data_frames_in_and_the_artifact_takes_raw_columns(convert):
    frame, y = _frame()
    table = convert(frame)
    model = SoftForestClassifier(**QUICK).fit(table, y)
    assert list(model.feature_names_in_) == ["city", "age", "member", "since"]
    assert model.score(table, y) > 0.9
    forest = model.harden()
    assert [c.kind for c in forest.schema.columns] == ["categorical", "numeric", "boolean", "datetime"]
    shuffled = frame[["since", "member", "age", "city"]]
    assert np.array_equal(forest.predict(shuffled), model.predict(table))
    unseen = frame.assign(city="Ulan Bator")
    assert set(forest.predict(unseen)) <= {"yes", "no"}
    with pytest.raises(SchemaError, match="'age'"):
        forest.predict(frame.drop(columns="age"))
    with pytest.raises(DataError, match="data frame"):
        model.predict(np.zeros((3, 4)))


def test_too_few_rows_warn_and_still_give_a_forest():
    X, y = np.arange(12.0)[:, None], np.arange(12) > 5
    with pytest.warns(UserWarning, match="12 rows are too few"):
        model = SoftForestClassifier(1, 1).fit(X, y)
    assert model.gap_ is None
    assert model.predict(X).tolist() == y.tolist()


def test_one_class_is_refused():
    with pytest.raises(DataError, match="only one class: 'a'"):
        SoftForestClassifier().fit(np.zeros((30, 1)), ["a"] * 30)


def test_constant_features_give_the_base_rate():
    y = np.arange(60) % 3 == 0
    model = SoftForestClassifier(**QUICK).fit(np.ones((60, 2)), y)
    assert np.allclose(model.predict_proba(np.ones((1, 2))), [[2 / 3, 1 / 3]], atol=0.05)


@pytest.mark.slow
def test_without_a_budget_two_forests_are_summed():
    X, y = load_breast_cancer(return_X_y=True)
    model = SoftForestClassifier(n_estimators=None, max_iter=50, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.97
    assert model.forest_.n_trees > 20 or model.candidates_[0]["name"].startswith("greedy")
    assert model.gap_ is not None


def test_metric_chooses():
    X, y = make_classification(600, weights=[0.8], random_state=0)
    model = SoftForestClassifier(metric="f1", **QUICK).fit(X, y)
    assert model.metric_ == "f1"
    best = max(row["value"] for row in model.candidates_)
    assert next(row["value"] for row in model.candidates_ if row["chosen"]) == best


def test_a_time_budget_cuts_steps_and_is_no_change_where_there_is_time(tmp_path):
    X, y = make_classification(400, 6, random_state=0)
    free = SoftForestClassifier(**QUICK).fit(X, y)
    assert SoftForestClassifier(time_budget=1e6, **QUICK).fit(X, y).forest_.equals(free.forest_)
    short = SoftForestClassifier(time_budget=1e-3, **QUICK).fit(X, y)
    assert all(row["l1"] is None for row in short.candidates_)
    with checkpointing(tmp_path):
        first = SoftForestClassifier(time_budget=1e6, **QUICK).fit(X, y)
        assert SoftForestClassifier(time_budget=1e-3, **QUICK).fit(X, y).candidates_[0]["l1"] is None
        assert SoftForestClassifier(time_budget=1e6, **QUICK).fit(X, y).forest_.equals(first.forest_)
