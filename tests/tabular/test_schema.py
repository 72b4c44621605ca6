import datetime as dt
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from hardgrad.core.errors import ArtifactError, SchemaError
from hardgrad.tabular.schema import Column, Feature, TableSchema

NASTY = "a \"b\" 'c' select\n日"
SCHEMA = TableSchema(
    (
        Column("age"),
        Column("state", "categorical", ("NY", "TX", "Ünö'\"")),
        Column("since", "datetime"),
        Column(NASTY, "boolean"),
    ),
    (
        Feature("age", 0),
        Feature("age is missing", 0, "missing"),
        Feature("state", 1, "codes", (0.1, 0.2, 0.3, 0.15)),
        Feature("state is missing", 1, "missing"),
        Feature("since", 2),
        Feature(NASTY, 3),
        Feature("since is missing", 2, "missing"),
    ),
)
ROWS = {
    "age": [31, None, 2.5],
    "state": ["TX", None, "ny"],
    "since": [dt.datetime(1970, 1, 2), None, dt.datetime(1969, 12, 31, 23, 59, 59, 5)],
    NASTY: [True, None, False],
}
EXPECTED = np.array(
    [
        [31.0, 0.0, 0.2, 0.0, 86400.0, 1.0, 0.0],
        [np.nan, 1.0, np.nan, 1.0, np.nan, np.nan, 1.0],
        [2.5, 0.0, 0.15, 0.0, -1.0, 0.0, 0.0],
    ]
)


@pytest.mark.parametrize(
    "library", ["dict", "pandas", "polars", "arrow", "arrow chunks", "more columns, another order"]
)
def test_encode_gives_the_same_matrix_for_every_library(library):
    table = {
        "dict": lambda: ROWS,
        "pandas": lambda: pd.DataFrame(ROWS),
        "polars": lambda: pl.DataFrame(ROWS, strict=False),
        "arrow": lambda: pa.table(ROWS),
        "arrow chunks": lambda: pa.concat_tables([pa.table(ROWS).slice(0, 1), pa.table(ROWS).slice(1)]),
        "more columns, another order": lambda: pa.table({"other": [1, 2, 3], **dict(reversed(ROWS.items()))}),
    }[library]()
    np.testing.assert_array_equal(SCHEMA.encode(table), EXPECTED)


def test_no_rows_give_a_matrix_without_rows():
    assert SCHEMA.encode({name: [] for name in SCHEMA.names}).shape == (0, 7)


def test_a_matrix_goes_through_untouched():
    X = np.array([[1.0, np.nan], [np.inf, -0.0]])
    schema = TableSchema.numeric(["a", "b"])
    assert schema.is_matrix
    np.testing.assert_array_equal(schema.encode(X), X)
    np.testing.assert_array_equal(schema.encode(np.array([[1, 2]])), [[1.0, 2.0]])
    with pytest.raises(SchemaError, match=r"shape \(1, 3\)"):
        schema.encode(np.zeros((1, 3)))


def test_an_object_matrix_is_read_column_by_column():
    rows = np.empty((3, 4), dtype=object)
    for j, values in enumerate(ROWS.values()):
        rows[:, j] = values
    np.testing.assert_array_equal(SCHEMA.encode(rows), EXPECTED)


def test_a_missing_column_suggests_the_nearest():
    with pytest.raises(SchemaError) as caught:
        SCHEMA.encode({"Age": [1], "state": ["a"]})
    assert "expects column 'age' (numeric)" in str(caught.value)
    assert "Did you mean 'Age'? Rename it, or pass --rename Age=age." in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", ["x"] * 3),
        ("state", [dt.date(2020, 1, 1)] * 3),
        ("since", [1, 2, 3]),
        (NASTY, [2, 0, 1]),
        ("age", [dt.date(2020, 1, 1)] * 3),
    ],
)
def test_a_column_of_another_type_is_an_error_that_names_it(name, values):
    for table in (
        ROWS | {name: values},
        pa.table(ROWS | {name: values}),
        pd.DataFrame(ROWS | {name: values}),
    ):
        with pytest.raises(SchemaError) as caught:
            SCHEMA.encode(table)
        assert repr(name) in str(caught.value)
        assert "row 0" in str(caught.value)


def test_raw_columns_are_arrays_of_plain_values():
    raw = SCHEMA.raw_columns(pa.table(ROWS))
    assert raw[0].tolist()[0] == 31.0
    assert raw[1].tolist() == ["TX", None, "ny"]
    assert raw[2].tolist() == ROWS["since"]
    assert raw[3].tolist() == [True, None, False]


def test_json_round_trip():
    assert TableSchema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA


@pytest.mark.parametrize(
    "make",
    [
        lambda: Column("a", "ordinal"),
        lambda: Column("a", "categorical", ("b", "a")),
        lambda: Column("a", "numeric", ("b",)),
        lambda: TableSchema((Column("a"), Column("a")), ()),
        lambda: TableSchema((Column("a"),), (Feature("a", 1),)),
        lambda: TableSchema((Column("a"),), (Feature("a", 0, "codes", (1.0,)),)),
        lambda: TableSchema((Column("a", "categorical", ("x",)),), (Feature("a", 0),)),
        lambda: TableSchema((Column("a", "categorical", ("x",)),), (Feature("a", 0, "codes", (1.0,)),)),
        lambda: TableSchema(
            (Column("a", "categorical", ("x",)),), (Feature("a", 0, "codes", (1.0, np.nan)),)
        ),
    ],
)
def test_a_schema_that_makes_no_sense_cannot_be_made(make):
    with pytest.raises(ArtifactError):
        make()
