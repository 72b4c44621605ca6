import datetime as dt
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.tabular import prepare_target

MAKERS = {
    "list": list,
    "numpy": np.array,
    "pandas": pd.Series,
    "pandas category": lambda values: pd.Series(values, dtype="category"),
    "polars": pl.Series,
    "arrow": pa.array,
    "arrow chunks": lambda values: pa.chunked_array([values[:1], values[1:]]),
    "arrow dictionary": lambda values: pa.array(values).dictionary_encode(),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_text_is_classes(make):
    target = prepare_target(make(["b", "a", "ä", "b"]))
    assert (target.task, target.classes) == ("classification", ("a", "b", "ä"))
    assert target.y.tolist() == [1, 0, 2, 1]
    assert target.y.dtype == np.int64
    assert target.labels.tolist() == ["b", "a", "ä", "b"]


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        ([True, False, True], "classification", (False, True)),
        ([0, 1, 1], "classification", (0, 1)),
        ([0.0, 1.0, 1.0], "classification", (0.0, 1.0)),
        ([-1, 7, 7], "classification", (-1, 7)),
        ([1, 2, 3], "regression", ()),
        ([1, 2, 3] * 20, "classification", (1, 2, 3)),
        (list(range(21)) * 100, "regression", ()),
        (list(range(20)) * 20, "classification", tuple(range(20))),
        ([0.5, 1.5, 0.5] * 20, "regression", ()),
        ([decimal.Decimal("0.5"), decimal.Decimal("1.5")], "regression", ()),
        ([decimal.Decimal(1), decimal.Decimal(2), decimal.Decimal(1)], "classification", (1.0, 2.0)),
    ],
)
def test_the_task_follows_from_the_values(values, task, classes):
    target = prepare_target(values)
    assert (target.task, target.classes) == (task, classes)
    assert [type(c) for c in target.classes] == [type(c) for c in classes]


def test_the_task_may_be_asked_for():
    assert prepare_target([0, 1, 1], "regression").y.tolist() == [0.0, 1.0, 1.0]
    assert prepare_target([1, 2, 3, 3, 2, 1], "classification").classes == (1, 2, 3)
    with pytest.raises(ParameterError):
        prepare_target([1, 2], "ranking")


def test_several_targets_are_a_regression():
    for columns in ({"a": [1.0, 2.0], "b": [0, 1]},):
        for make in (pd.DataFrame, pa.table, pl.DataFrame):
            assert prepare_target(make(columns)).y.tolist() == [[1.0, 0.0], [2.0, 1.0]]
    assert prepare_target(np.array([[1.0, 2.0], [3.0, 4.0]])).y.shape == (2, 2)
    assert prepare_target(np.array([[1], [0], [1]])).classes == (0, 1)
    assert prepare_target(pd.DataFrame({"only": ["a", "b"]})).name == "only"
    with pytest.raises(DataError, match="a classification has one"):
        prepare_target(np.zeros((3, 2)), "classification")


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        (["a", None, "b"], "auto", "'t' is missing in 1 of 3 rows, first in row 1. Drop"),
        ([1.0, float("nan"), None], "auto", "missing in 2 of 3 rows, first in row 1"),
        ([1.0, 2.0, float("inf")], "auto", "holds inf in row 2"),
        (["a", "a"], "auto", "one class only, 'a'"),
        ([True, True], "auto", "one class only, True"),
        ([1.5, 1.5], "auto", "is 1.5 in all 2 rows"),
        ([3, 3, 3], "regression", "is 3 in all 3 rows"),
        ([1], "auto", "has 1 rows; expected at least 2"),
        ([], "auto", "has 0 rows"),
        (["a", "b"], "regression", "nothing to regress on"),
        ([f"name {i}" for i in range(30)], "auto", "30 different values in 30 rows: that names rows"),
        ([dt.date(2020, 1, 1), dt.date(2020, 1, 2)], "auto", "has type date"),
        (["a", 1], "auto", "mixes types"),
    ],
)
def test_bad_targets_say_what_to_do(values, task, message):
    with pytest.raises(DataError, match=message):
        prepare_target(values, task, name="t")


def test_more_rows_may_be_asked_for():
    with pytest.raises(DataError, match="has 3 rows; expected at least 20"):
        prepare_target(["a", "b", "a"], minimum_rows=20)


@given(st.lists(st.text(max_size=2).filter(lambda t: t.isprintable()), min_size=2, max_size=30))
def test_labels_come_back(values):
    try:
        target = prepare_target(values)
    except DataError:
        return
    assert [target.classes[k] for k in target.y] == values
    assert list(target.classes) == sorted(set(values))
