import datetime as dt
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.tabular import TableEncoder, load_table
from hardgrad.tabular.column_typing import TableWarning

NAME = "state \"of\" 'mind'"


def mixed(n=200, seed=0):
    generator = np.random.default_rng(seed)
    city = generator.integers(0, 40, n)
    state = generator.integers(0, 3, n)
    y = (generator.random(n) < 0.2 + 0.5 * (city % 2)).astype(int)
    return {
        "age": [None if i % 7 == 0 else float(v) for i, v in enumerate(generator.integers(0, 90, n))],
        "city": [f"c'{c}ä" for c in city],
        NAME: [None if i % 7 == 0 else ["NY", "TX", "WA"][s] for i, s in enumerate(state)],
        "member": [bool(v) for v in generator.integers(0, 2, n)],
        "since": [dt.datetime(2020, 1, 1) + dt.timedelta(days=int(d)) for d in generator.integers(0, 900, n)],
        "constant": ["x"] * n,
        "rarely": [None if i % 5 else 1.0 for i in range(n)],
    }, y


def test_features():
    table, y = mixed()
    encoder = TableEncoder()
    schema = encoder.fit(table, y)
    assert [(f.name, f.transform) for f in schema.features] == [
        ("age", "identity"),
        ("age is missing", "missing"),
        ("city", "codes"),
        (NAME, "codes"),  # missing where the age is: no second feature says so
        ("member", "identity"),
        ("since", "identity"),
        ("rarely is missing", "missing"),
    ]
    assert schema is encoder.schema_
    assert [d.name for d in encoder.typing_.dropped] == ["constant"]
    city = schema.columns[1]
    assert list(city.categories) == sorted(set(table["city"]))


def test_training_codes_are_cross_fitted_where_there_are_many_categories():
    table, y = mixed()
    schema, X = TableEncoder().fit_transform(table, y, random_state=1)
    assert schema == TableEncoder().fit(table, y)
    final = schema.encode(table)
    names = [f.name for f in schema.features]
    crossed = names.index("city")
    others = [j for j in range(len(names)) if j != crossed]
    np.testing.assert_array_equal(X[:, others], final[:, others])
    assert (X[:, crossed] != final[:, crossed]).all()
    # Flipping a label moves the training codes of other rows only.
    flipped = y.copy()
    flipped[0] = 1 - flipped[0]
    _, Z = TableEncoder(cross_fit_above=10**9).fit_transform(table, flipped)
    assert Z[0, crossed] != final[0, crossed]


def test_noise_does_not_look_like_signal():
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 4000)
    table = {"noise": [f"k{k}" for k in generator.integers(0, 800, 4000)]}
    schema, X = TableEncoder().fit_transform(table, y)
    leaking = np.corrcoef(schema.encode(table)[:, 0], y)[0, 1]
    honest = np.corrcoef(X[:, 0], y)[0, 1]
    assert leaking > 0.3
    assert abs(honest) < 0.08


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_every_library_gives_the_same_bits(make):
    table, y = mixed()
    schema, X = TableEncoder().fit_transform(table, y, random_state=3)
    other, Z = TableEncoder().fit_transform(make(table), y, random_state=3)
    assert other == schema
    assert X.tobytes() == Z.tobytes()
    np.testing.assert_array_equal(schema.encode(make(table)), schema.encode(table))


def test_seeds():
    table, y = mixed()
    one, two, other = (TableEncoder().fit_transform(table, y, random_state=s)[1] for s in (5, 5, 6))
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != other.tobytes()


def test_unseen_categories_get_the_prior_and_missing_ones_nan():
    table, y = mixed()
    schema = TableEncoder().fit(table, y)
    row = schema.encode(
        {name: [values[1]] for name, values in table.items()} | {"city": ["nowhere"], NAME: [None]}
    )[0]
    assert row[2] == y.mean()
    assert np.isnan(row[3])


def test_several_classes_have_a_code_each_and_many_have_ten():
    table, _ = mixed()
    y = np.arange(200) % 4
    schema = TableEncoder().fit(table, y)
    names = [f.name for f in schema.features if f.column == 1]
    assert names == ["city (0)", "city (1)", "city (2)", "city (3)"]
    codes = np.array([f.codes for f in schema.features if f.column == 1])
    np.testing.assert_allclose(codes.sum(axis=0), 1, atol=0.35)
    many = TableEncoder().fit(table, np.arange(200) % 26)
    assert sum(f.column == 1 for f in many.features) == 10
    declared = TableEncoder().fit(table, y % 2, n_classes=4)
    assert sum(f.column == 1 for f in declared.features) == 4


def test_regression_of_one_and_several_outputs():
    table, y = mixed()
    Y = np.column_stack([y, -y, np.arange(200.0)])
    assert sum(f.column == 1 for f in TableEncoder().fit(table, Y[:, 0], task="regression").features) == 1
    assert sum(f.column == 1 for f in TableEncoder().fit(table, Y, task="regression").features) == 3
    wide = np.random.default_rng(0).normal(size=(200, 14))
    assert sum(f.column == 1 for f in TableEncoder().fit(table, wide, task="regression").features) == 10


def test_rows_of_weight_zero_teach_nothing_but_are_encoded():
    table, y = mixed()
    arrow = pa.table(table)
    weight = np.ones(200)
    weight[150:] = 0
    schema, X = TableEncoder().fit_transform(table, y, sample_weight=weight, random_state=2)
    alone, Z = TableEncoder().fit_transform(arrow.slice(0, 150), y[:150], random_state=2)
    assert schema == alone
    np.testing.assert_array_equal(X[:150], Z)
    np.testing.assert_array_equal(X[150:], schema.encode(arrow.slice(150)))


def test_weights_move_codes():
    table = {"t": ["a", "a", "b", "b"] * 10}
    y = [0, 1, 0, 1] * 10
    weight = [1, 3, 3, 1] * 10
    codes = TableEncoder().fit(table, y, sample_weight=weight).features[0].codes
    assert codes[0] > codes[2] > codes[1]


def test_an_identifier_is_left_out_with_a_warning():
    table = {"id": [f"u{i}" for i in range(30)], "x": list(range(30))}
    with pytest.warns(TableWarning, match="'id' was left out"):
        schema = TableEncoder().fit(table, np.arange(30) % 2)
    assert schema.names == ("x",)


@pytest.mark.parametrize(
    ("table", "y", "options", "message"),
    [
        ({"a": [1, 2]}, [0, 1, 0], {}, "2 rows and the target 3"),
        ({"a": [1, 2]}, [0, np.nan], {}, "missing or infinite"),
        ({"a": [1, 2]}, [0, 0.5], {}, "class numbers"),
        ({"a": [1, 2]}, [0, -1], {}, "class numbers"),
        ({"a": [1, 2]}, [0, 5], {"n_classes": 3}, "class number 5, but there are 3"),
        ({"a": [1, 1]}, [0, 1], {}, "no column is left"),
        ({"a": []}, [], {}, "no rows"),
        ({"a": [1.0, np.inf]}, [0, 1], {}, "'a' holds inf"),
        ({"a": [1, 2]}, [0, 1], {"sample_weight": [0, 0]}, "zero everywhere"),
    ],
)
def test_bad_input(table, y, options, message):
    with pytest.raises(DataError, match=message):
        TableEncoder().fit(table, y, **options)


def test_bad_parameters():
    with pytest.raises(ParameterError):
        TableEncoder(folds=1)
    with pytest.raises(ParameterError):
        TableEncoder().fit({"a": [1, 2]}, [0, 1], task="ranking")


def test_census():
    census = load_table("census")
    y = np.asarray(census.table["income_over_50k"]).astype(int)
    table = census.features
    schema, X = TableEncoder().fit_transform(table, y)
    assert X.shape == (40_000, len(schema.features))
    education = X[:, [f.name for f in schema.features].index("education")]
    assert np.corrcoef(education, y)[0, 1] > 0.3
    assert np.isnan(X).any(axis=0).sum() >= 8


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_table_gives_a_schema_that_encodes_its_own_rows(data):
    n = data.draw(st.integers(4, 25))
    text = st.one_of(st.none(), st.sampled_from(["", "a", "A", "a ", "é", "'", '"']))
    number = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=False), st.integers(-3, 3))
    table = {
        "t": data.draw(st.lists(text, min_size=n, max_size=n)),
        "x": data.draw(st.lists(number, min_size=n, max_size=n)),
        "b": data.draw(st.lists(st.sampled_from([True, False, None]), min_size=n, max_size=n)),
    }
    y = np.arange(n) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)
        try:
            schema, X = TableEncoder(cross_fit_above=2).fit_transform(table, y)
        except DataError:  # every column is constant, empty or a copy
            return
    again = schema.encode(table)
    assert X.shape == again.shape
    assert np.array_equal(np.isnan(X), np.isnan(again))
    assert type(schema).from_json(schema.to_json()) == schema
