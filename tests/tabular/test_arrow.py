import datetime as dt
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from hardgrad.core.errors import DataError
from hardgrad.tabular.arrow import to_arrow

MAKERS = [dict, pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.table, pa.RecordBatch.from_pydict]


@pytest.mark.parametrize("make", MAKERS)
def test_tables_of_every_library(make):
    values = {"n": [1, 2], "t": ["ä", None], "b": [True, False], "d": [dt.datetime(2020, 1, 1), None]}
    table = to_arrow(make(values))
    assert table.column_names == ["n", "t", "b", "d"]
    assert table["t"].to_pylist() == ["ä", None]
    assert table["d"].null_count == 1


def test_an_array_gets_names_and_nan_of_pandas_is_null():
    assert to_arrow(np.zeros((2, 2))).column_names == ["x0", "x1"]
    assert to_arrow(pd.DataFrame({1: [1.0, np.nan]}))["1"].null_count == 1


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1, "x"], ("1 (int)", "'x' (str)")),
        ([None, True, 2], ("True (bool)", "2 (int)")),
        (["a", dt.date(2020, 1, 1)], ("'a' (str)", "(date)")),
        ([dt.datetime(2020, 1, 1), dt.date(2020, 1, 1)], ("(datetime)", "(date)")),
        ([b"a", "a"], ("b'a' (bytes)", "'a' (str)")),
    ],
)
def test_mixed_types_show_two_offending_values(values, shown):
    for table in ({"c": values}, pd.DataFrame({"c": pd.Series(values, dtype=object)})):
        with pytest.raises(DataError, match="column 'c' mixes types: row") as caught:
            to_arrow(table)
        assert all(part in str(caught.value) for part in shown)


def test_numbers_of_several_types_are_no_mix():
    assert to_arrow({"c": [1, 2.5, np.float32(3), None]})["c"].to_pylist() == [1.0, 2.5, 3.0, None]
    assert to_arrow({"c": [decimal.Decimal("1.5"), None]})["c"].null_count == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "same name: 'a'"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "same name: 'a'"),
        ({"a": [1], "b": [1, 2]}, "different lengths"),
        (np.zeros(3), "shape"),
        ("text", "expected a PyArrow table"),
        ({"a": [2**70]}, "cannot be read"),
    ],
)
def test_what_is_no_table(table, message):
    with pytest.raises(DataError, match=message):
        to_arrow(table)
