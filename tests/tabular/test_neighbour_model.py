"""Exact neighbourhoods: arithmetic against NumPy, neighbours against scikit-learn, answers that do not depend on who else is asked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from examples import random_neighbourhood
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors

from hardgrad.core.errors import ExportError, ParameterError, SchemaError
from hardgrad.tabular.neighbour_arithmetic import (
    NeighbourIndex,
    exponential,
    linear,
    squared_distances,
    turns,
)
from hardgrad.tabular.neighbour_model import in_bins
from hardgrad.tabular.schema import Column, Feature, TableSchema

MATRIX = TableSchema.numeric(["a", "b", "c"])


def bits(array):
    return np.ascontiguousarray(array).view(np.int64)


# --- arithmetic -------------------------------------------------------------------------------------------------------------
def test_exponential_is_that_of_numpy():
    x = -np.concatenate([np.linspace(0, 750, 20_001), 10.0 ** np.arange(-20, 300)])
    np.testing.assert_array_max_ulp(exponential(x[x > -700]), np.exp(x[x > -700]), 2)
    assert np.allclose(exponential(x), np.exp(x), rtol=1e-15, atol=1e-320)
    assert exponential(np.array([0.0, -0.0])).tolist() == [1.0, 1.0]


def test_turns_are_cosine_and_sine():
    x = np.concatenate([np.linspace(-3, 3, 20_001), [1e6 + 0.125]])
    found = turns(x)
    assert np.abs(found[0] - np.cos(2 * np.pi * (x % 1))).max() < 2e-15
    assert np.abs(found[1] - np.sin(2 * np.pi * (x % 1))).max() < 2e-15


def test_linear_is_a_product_whose_bits_do_not_depend_on_the_batch():
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(300, 7)), rng.normal(size=(7, 5)).astype(np.float32)
    whole = linear(x, weight, weight[0, :])
    assert np.allclose(whole, x @ weight + weight[0, :], rtol=1e-12)
    assert np.array_equal(bits(whole[200:201]), bits(linear(x[200:201], weight, weight[0, :])))


@given(st.integers(0, 10**6))
def test_bins_hold_what_lies_below(seed):
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(rng.normal(size=6), size=(2, 6)), axis=1).astype(
        np.float32
    )  # some bins have no width
    x = rng.normal(size=(9, 2))
    share, width = in_bins(x, edges), np.diff(edges.astype(np.float64), axis=1)
    assert np.allclose((share * width).sum(axis=2), np.clip(x, edges[:, 0], edges[:, -1]) - edges[:, 0])


# --- the index --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["brute", "kd_tree"])
@pytest.mark.parametrize(
    "offset", [0.0, 1e7]
)  # far from the origin the matrix product loses nearly all digits
def test_index_finds_the_nearest(kind, offset):
    rng = np.random.default_rng(0)
    rows, queries = rng.normal(size=(400, 3)) + offset, rng.normal(size=(150, 3)) + offset
    number, squared = NeighbourIndex(rows, kind).query(queries, 10)
    distance, expected = NearestNeighbors(n_neighbors=10, algorithm="kd_tree").fit(rows).kneighbors(queries)
    assert np.array_equal(number, expected)
    assert np.allclose(np.sqrt(squared), distance, rtol=1e-9)
    assert np.array_equal(
        bits(squared), bits(np.sort(squared_distances(queries, rows[None]), axis=1)[:, :10])
    )


@pytest.mark.parametrize("kind", ["brute", "kd_tree"])
def test_of_equally_near_rows_the_first_are_taken(kind):
    rows = np.repeat(np.eye(3), 60, axis=0)[np.random.default_rng(0).permutation(180)]
    number, squared = NeighbourIndex(rows, kind).query(np.eye(3) + 0.1, 25)
    for i in range(3):
        assert number[i].tolist() == np.flatnonzero(rows[:, i])[:25].tolist()
    assert (squared[:, 0] == squared[:, -1]).all()


def test_unknown_index_is_refused():
    with pytest.raises(ParameterError, match="got index='psychic'"):
        random_neighbourhood(0, MATRIX, classes=("a", "b")).neighbours(np.zeros((1, 3)), index="psychic")


# --- answers ----------------------------------------------------------------------------------------------------------------
def votes_of(model):
    return lambda distance: np.exp(-distance / model.temperature)


def test_answers_are_those_of_scikit_learn():
    X = np.random.default_rng(1).normal(size=(80, 3))
    model = random_neighbourhood(0, MATRIX, classes=("a", "b", "c"), k=7)
    model = dataclasses.replace(
        model,
        smoothing=0.0,
        votes=np.ones(60),
        memory=np.random.default_rng(2).normal(size=(60, 6)).astype(np.float32),
    )
    peer = KNeighborsClassifier(7, weights=votes_of(model)).fit(model.memory, model.values.argmax(axis=1))
    assert np.allclose(model.predict_proba(X), peer.predict_proba(model.embed(X)), atol=1e-12)
    assert np.array_equal(model.predict(X), np.array(["a", "b", "c"])[peer.predict(model.embed(X))])
    values = dataclasses.replace(model, task="regression", classes=(), values=np.arange(60.0)[:, None])
    regression = KNeighborsRegressor(7, weights=votes_of(model)).fit(model.memory, np.arange(60.0))
    assert np.allclose(values.predict(X), regression.predict(values.embed(X)), rtol=1e-12)


def test_weights_of_votes_and_smoothing():
    model = random_neighbourhood(0, MATRIX, classes=("a", "b"), k=3)
    X = np.random.default_rng(1).normal(size=(10, 3))
    number, squared = NeighbourIndex(model.memory).query(model.embed(X), 3)
    share = model.votes[number] * np.exp(-np.sqrt(squared) / model.temperature)
    share /= share.sum(axis=1, keepdims=True)
    assert np.allclose(model.neighbours(X)[1], share)
    plain = np.einsum("nk,nkc->nc", share, model.values[number])
    assert np.allclose(model.predict_proba(X), (plain + model.smoothing) / (1 + 2 * model.smoothing))
    assert (model.predict_proba(X) > 0).all()


@pytest.mark.parametrize("embedding", ["none", "periodic", "piecewise"])
def test_a_row_is_answered_alike_alone_and_among_others(embedding):
    schema = TableSchema.numeric(list("abcd"))
    model = random_neighbourhood(
        3, schema, embedding=embedding, n_blocks=1, classes=("a", "b"), rows=300, dim=4
    )
    X = np.random.default_rng(1).normal(size=(1500, 4))
    whole = model.predict_raw(X)
    assert np.array_equal(bits(whole[1200:1203]), bits(model.predict_raw(X[1200:1203])))
    for index in ("brute", "kd_tree"):
        assert np.array_equal(bits(model.neighbours(X, index=index)[1]), bits(model.neighbours(X)[1]))


def test_missing_is_the_mean_and_nothing_is_infinitely_far():
    model = random_neighbourhood(0, MATRIX, classes=("a", "b"))
    assert np.array_equal(model.embed(np.full((1, 3), np.nan)), model.embed(model.mean[None]))
    far = model.predict_proba(np.array([[np.inf, -np.inf, 1e308], [-1e308, np.inf, np.nan]]))
    assert np.isfinite(far).all() and np.allclose(far.sum(axis=1), 1)
    assert model.predict(np.empty((0, 3))).shape == (0,)
    with pytest.raises(SchemaError, match=r"expected \[n, 3\]"):
        model.embed(np.zeros((2, 4)))


# --- C ------------------------------------------------------------------------------------------------------------------------
def test_what_c_cannot_hold_is_said():
    coded = TableSchema(
        (Column("city", "categorical", ("a", "b")),), (Feature("city", 0, "codes", (0.2, 0.7, 0.4)),)
    )
    model = random_neighbourhood(0, coded, classes=(1, 2))
    with pytest.raises(ExportError, match="'city' has 2 categories"):
        model.to_c()
    large = random_neighbourhood(0, MATRIX, classes=(1, 2), rows=60_000)
    with pytest.raises(ExportError, match="prototypes"):
        large.to_c()
    assert set(random_neighbourhood(0, MATRIX, outputs=1).forms()["c"].write()) == {"model.c", "model.h"}


def test_header_says_what_each_feature_is():
    columns = (Column("born", "datetime"), Column("state", "categorical", ("NY", "T*/X")))
    features = (Feature("born", 0), Feature("gone", 0, "missing"), Feature("T", 1, "codes", (0.0, 1.0, 0.0)))
    header = random_neighbourhood(0, TableSchema(columns, features), classes=("a", "b")).to_c().header
    assert "x[0]: 'born' in seconds" in header
    assert "x[1]: 1 if 'born' is missing" in header
    assert "x[2]: 1 if 'state' is 'T* /X'" in header
