"""Budgets are kept, packed bytes are the forest, the packed C is the reference."""

import ctypes
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

import hardgrad
from hardgrad.core.errors import ArtifactError, BudgetError, DataError, ExportError
from hardgrad.export.compiled_c import compile_shared
from hardgrad.trees import SoftForestClassifier, SoftForestRegressor
from hardgrad.trees.budget import Budget, parse_budget
from hardgrad.trees.compression import compress
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.packed import bfloat16, pack, packed_size, size_in_bytes, unpack


@pytest.mark.parametrize(
    ("text", "budget"),
    [("2kB", Budget("bytes", 2000)), ("1.5 KiB", Budget("bytes", 1536)), ("900 bytes", Budget("bytes", 900)),
     ("64 leaves", Budget("leaves", 64)), ("1 leaf ", None), ("5 trees", Budget("trees", 5)), ("0 trees", None),
     ("two kB", None), ("-3kB", None), ("", None), ("12", None)],
)  # fmt: skip
def test_budgets_are_read(text, budget):
    if budget is None:
        with pytest.raises(BudgetError, match="budget got"):
            parse_budget(text)
    else:
        assert parse_budget(text) == budget


def test_bfloat16_rounds_up_and_is_short():
    for value in (1e-30, 0.1, 1.0, 3.14159, 1e20):
        short = bfloat16(value)
        assert value <= short <= value * 1.01
        assert float(short).hex().split("p")[0].rstrip("0").__len__() <= 6


def _noisy(X):
    X = X.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.05] = np.nan
    return X


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "load"),
    [
        (SoftForestClassifier, load_breast_cancer),
        (SoftForestClassifier, load_wine),
        (SoftForestRegressor, load_diabetes),
    ],
)
def test_bytes_hold_the_forest_and_c_agrees(make, load, tmp_path):
    X, y = load(return_X_y=True)
    X = _noisy(X)
    forest = make(budget="300 bytes", random_state=0).fit(X, y).forest_
    data = pack(forest)
    assert len(data) == packed_size(forest) == size_in_bytes(forest) <= 300
    again = unpack(data, forest)
    assert all(np.array_equal(getattr(again, name), array) for name, array in forest.arrays().items())
    assert hardgrad.load(forest.save(tmp_path / "m.safetensors")).equals(forest)
    assert np.array_equal(_packed_c(forest, X), forest.predict_raw(X))


def _tilted(n=500, missing=0.0):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    y = X[:, 0] + X[:, 1] - 0.7 * X[:, 2] > 0
    X[rng.random(X.shape) < missing] = np.nan
    return X, y


@pytest.fixture(scope="module", params=[0.0, 0.02])
def tilted(request):
    X, y = _tilted(missing=request.param)
    return SoftForestClassifier(budget="64 bytes", random_state=0, max_iter=150).fit(X, y), X


def test_oblique_nodes_win_where_the_border_is_tilted_and_stay_exact(tilted, tmp_path):
    model, X = tilted
    forest = model.forest_
    assert not forest.is_axis
    data = pack(forest)
    assert len(data) == packed_size(forest) <= 64
    again = unpack(data, forest)
    assert all(np.array_equal(getattr(again, name), array) for name, array in forest.arrays().items())
    assert hardgrad.load(forest.save(tmp_path / "m.safetensors")).equals(forest)
    cuts = np.stack(
        [np.resize(forest.cut[forest.cut_offset[f] : forest.cut_offset[f + 1]], 63) for f in range(3)], axis=1
    )
    where = np.concatenate(
        [X, cuts, np.nextafter(cuts, np.inf), np.full((1, 3), np.nan), np.full((1, 3), np.inf)]
    )
    assert np.array_equal(_packed_c(forest, where), forest.predict_raw(where))


def test_axis_alone_where_it_is_asked_for():
    X, y = _tilted()
    assert SoftForestClassifier(budget="64 bytes", split="axis", random_state=0).fit(X, y).forest_.is_axis


def _packed_c(forest, X):
    """Raw scores of the compiled packed form."""
    source = forest.to_c(form="packed")
    library = compile_shared(source.source.replace('#include "model.h"', source.header), name="packed_test")
    out = np.empty((len(X), forest.n_outputs))
    library.model_raw_matrix(
        np.ascontiguousarray(X).ctypes.data_as(ctypes.c_void_p),
        ctypes.c_size_t(len(X)),
        out.ctypes.data_as(ctypes.c_void_p),
    )
    return out


def test_oblique_forests_off_their_grids_are_refused(tilted):
    forest = tilted[0].forest_
    with pytest.raises(ExportError, match="weight of node"):
        pack(replace(forest, term_weight=forest.term_weight * 20))
    with pytest.raises(ExportError, match="scores of feature"):
        pack(replace(forest, score=forest.score * 2))
    with pytest.raises(ExportError, match="oblique nodes with full ones"):
        pack(replace(forest, packing=replace(forest.packing, weight_bits=0)))


def test_leaves_and_trees_are_kept():
    X, y = load_wine(return_X_y=True)
    assert SoftForestClassifier(budget="12 leaves", random_state=0).fit(X, y).forest_.n_leaves <= 12
    assert SoftForestClassifier(budget="2 trees", random_state=0).fit(X, y).forest_.n_trees == 2


def test_categories_that_no_tree_tells_apart_are_dropped():
    rng = np.random.default_rng(0)
    states = np.array([f"state {k}" for k in range(40)])
    k = rng.integers(0, 40, 800)
    frame = pd.DataFrame({"state": states[k], "x": rng.normal(size=800)})
    y = (k < 3) ^ (rng.random(800) < 0.02)
    model = SoftForestClassifier(budget="200 bytes", random_state=0).fit(frame, y)
    forest = model.forest_
    column = next(c for c in forest.schema.columns if c.name == "state")
    assert size_in_bytes(forest) <= 200
    assert len(column.categories) < 40
    assert model.score(frame, y) > 0.9
    assert len(pack(forest)) + sum(len(c) + 1 for c in column.categories) <= 200


def test_what_does_not_fit_says_what_would():
    X, y = load_wine(return_X_y=True)
    with pytest.raises(
        BudgetError, match=r"no forest fits in 30 bytes: the smallest one for this table takes \d+"
    ):
        SoftForestClassifier(budget="30 bytes", random_state=0).fit(X, y)
    with pytest.raises(ExportError, match="byte budget"):
        pack(forest_from_trees([{"value": 1.0}], ["a"]))
    forest = SoftForestClassifier(budget="100 bytes", random_state=0).fit(X, y).forest_
    with pytest.raises(ArtifactError, match="not a packed forest"):
        unpack(pack(forest)[:9], forest)


def test_compress_says_what_it_cost():
    X, y = load_breast_cancer(return_X_y=True)
    large = SoftForestClassifier(n_estimators=10, split="axis", l1=(), random_state=0).fit(X, y).forest_
    table = {**{name: X[:, i] for i, name in enumerate(large.schema.names)}, "sick": y}
    result = compress(large, table, budget="250 bytes", target="sick")
    assert result.bytes_after <= 250 < result.bytes_before
    assert 0.9 < result.agreement <= 1.0
    assert result.forest.classes == large.classes
    assert "times smaller" in str(result)
    assert result.to_dict()["ratio"] > 1
    as_words = compress(large, {**table, "sick": y.astype(bool)}, budget="250 bytes", target="sick")
    assert as_words.forest.equals(result.forest)
    with pytest.raises(DataError, match="holds 'maybe', which is no class"):
        compress(large, {**table, "sick": np.where(y == 1, "1", "maybe")}, budget="250 bytes", target="sick")
    with pytest.raises(BudgetError, match="forest to compress takes"):
        holes = {
            name: np.where(np.arange(len(y)) % 9 == 0, np.nan, x)
            for name, x in table.items()
            if name != "sick"
        }
        compress(
            large, {**holes, "sick": y}, budget="24 bytes", target="sick"
        )  # one tree of two leaves takes 25
