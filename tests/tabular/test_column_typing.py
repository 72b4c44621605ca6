import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hardgrad.core.errors import DataError
from hardgrad.tabular import infer_columns

N = 30


def reasons(typing):
    return {dropped.name: dropped.reason for dropped in typing.dropped}


def test_kinds_follow_from_types():
    table = pa.table(
        {
            "int": pa.array([1, 2]),
            "float": pa.array([1.5, None], pa.float32()),
            "decimal": pa.array([decimal.Decimal("1.5"), decimal.Decimal("2.5")]),
            "bool": [True, None],
            "text": ["a", "b"],
            "coded": pa.array(["x", "y"]).dictionary_encode(),
            "number codes": pa.array([7, 8]).dictionary_encode(),
            "day": [dt.date(2020, 1, 1), dt.date(2020, 1, 2)],
            "instant": pa.array([1, 2 * 10**9], pa.timestamp("ns", "UTC")),
            "view": pa.array(["p", "q"], pa.string_view()),
        }
    )
    assert infer_columns(table).kinds == {
        "int": "numeric", "float": "numeric", "decimal": "numeric", "bool": "boolean", "text": "categorical", "coded": "categorical",
        "number codes": "categorical", "day": "datetime", "instant": "datetime", "view": "categorical",
    }  # fmt: skip


def test_columns_that_say_nothing_are_dropped_with_the_reason():
    table = {
        "a": [1.0, 2.0, None],
        "copy": [1, 2, None],
        "const": ["x"] * 3,
        "sometimes": ["x", None, "x"],
        "void": [None] * 3,
        "nan": [float("nan")] * 3,
        "t": ["p", "q", "p"],
        "t2": ["p", "q", "p"],
        "y": [0, 1, 0],
    }
    typing = infer_columns(table, target="y")
    assert reasons(typing) == {
        "copy": "the same as 'a'",
        "const": "constant",
        "void": "all missing",
        "nan": "all missing",
        "t2": "the same as 't'",
    }
    assert list(typing.kinds) == ["a", "sometimes", "t"]


def test_the_same_text_in_another_dictionary_is_a_copy():
    table = pa.table({"a": ["x", "y", "x"], "b": pa.DictionaryArray.from_arrays([1, 0, 1], ["y", "x"])})
    assert reasons(infer_columns(table)) == {"b": "the same as 'a'"}


def test_identifiers_are_dropped_unless_they_are_asked_for():
    table = {"id": [f"u{i}" for i in range(N)], "x": list(range(N))}
    typing = infer_columns(table)
    assert reasons(typing)["id"] == f"an identifier: {N} different values in {N} rows"
    assert any("categorical=" in note for note in typing.notes)
    kept = infer_columns(table, categorical=["id"])
    assert kept.kinds["id"] == "categorical"
    assert "hardly learn" in kept.notes[0]


def test_numbers_as_text_stay_categories_with_a_note():
    typing = infer_columns({"zip": ["02139", "10001", "02139", "94110"], "x": [1, 2, 3, 4]})
    assert typing.kinds["zip"] == "categorical"
    assert "numbers as text" in typing.notes[0]
    assert not infer_columns({"zip": ["02139", "10001", "02139", "94110"]}, categorical=["zip"]).notes


DAYS = [dt.date(2020, 1, day) for day in (1, 2, 3)]


def test_asking_for_kinds():
    table = {
        "code": [1, 2, 1],
        "x": [0.5, 1.5, 2.5],
        "b": [True, False, True],
        "t": ["a", "b", "a"],
        "d": [dt.date(2020, 1, i) for i in (1, 2, 3)],
    }
    typing = infer_columns(table, categorical=["code", "b", "t"], numeric=["x"], drop=["d"])
    assert typing.kinds == {"code": "categorical", "x": "numeric", "b": "boolean", "t": "categorical"}
    assert reasons(typing) == {"d": "as asked"}
    for options in ({"categorical": ["x"]}, {"categorical": ["d"]}, {"numeric": ["t"]}, {"numeric": ["b"]}):
        with pytest.raises(DataError, match="was named"):
            infer_columns(table, **options)
    for options in (
        {"target": "Code"},
        {"drop": ["nope"]},
        {"categorical": ["nope"]},
        {"target": ["x", "z"]},
    ):
        with pytest.raises(DataError, match="has no column"):
            infer_columns(table, **options)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": [1.0, 2.0, np.inf]}, "'a' holds inf in row 2"),
        ({"a": [1.0, -np.inf, np.inf]}, "'a' holds -inf in row 1"),
        ({"a": [1, "x", 2]}, "column 'a' mixes types"),
        (pa.table({"a": [[1], [2]]}), "'a' has type list"),
        (pa.table({"a": [dt.time(1), dt.time(2)]}), "'a' has type time"),
        (pa.table({"a": [b"x", b"y"]}), "'a' has type binary"),
        ({"a": []}, "no rows"),
        (
            {"a": [1, 1], "b": ["x", "x"], "c": [None, None]},
            "'a' .constant., 'b' .constant., 'c' .all missing.",
        ),
        ({"y": [1, 2]}, "none beside the target"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "same name"),
    ],
)
def test_bad_tables_name_the_column(table, message):
    with pytest.raises(DataError, match=message):
        infer_columns(table, target="y" if "y" in table else None)


def test_summary_is_one_line():
    assert infer_columns({"a": [1, 2], "b": ["x", "y"], "c": [1, 1]}).summary() == (
        "2 columns (1 numeric, 1 categorical), dropped 'c' (constant)"
    )
