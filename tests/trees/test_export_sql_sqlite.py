"""The exported SELECT in the SQLite of the standard library: equal to the reference on rows made to break it."""

from __future__ import annotations

import sqlite3
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_checks import assert_exact, chain, extreme_forest, forest_cases

from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees.export_sql import to_sql
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.probe import generate_rows, random_forest, to_arrow

CASES = forest_cases()


def as_sqlite(value: Any) -> Any:
    return value.isoformat(" ") if hasattr(value, "isoformat") else value


def load(rows: dict[str, np.ndarray], forest: Forest) -> sqlite3.Connection:
    types = {
        "numeric": "REAL",
        "boolean": "INTEGER",
        "categorical": "TEXT COLLATE NOCASE",
        "datetime": "TEXT",
    }
    connection = sqlite3.connect(":memory:")
    quoted = ['"' + c.name.replace('"', '""') + '" ' + types[c.kind] for c in forest.schema.columns]
    connection.execute(f"CREATE TABLE data ({', '.join(quoted)})")
    columns = [[as_sqlite(v) for v in column.to_pylist()] for column in to_arrow(rows, forest.schema).columns]
    places = ", ".join("?" * len(columns))
    connection.executemany(f"INSERT INTO data VALUES ({places})", zip(*columns, strict=True))
    return connection


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_equals_reference(case: str, leaves: bool) -> None:
    forest = CASES[case]
    rows = generate_rows(forest, 1000, random_state=1)
    result = load(rows, forest).execute(to_sql(forest, "sqlite", leaves=leaves)).fetchall()
    assert_exact(forest, rows, list(zip(*result, strict=True)), "sqlite", leaves=leaves)


def check(forest: Forest, rows: dict[str, np.ndarray], leaves: bool) -> None:
    result = load(rows, forest).execute(to_sql(forest, "sqlite", leaves=leaves)).fetchall()
    assert_exact(forest, rows, list(zip(*result, strict=True)), "sqlite", leaves=leaves)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 4), st.integers(1, 4), st.booleans())
def test_any_forest(seed: int, trees: int, depth: int, outputs: int, leaves: bool) -> None:
    forest = random_forest(seed, n_trees=trees, max_depth=depth, n_outputs=outputs)
    check(forest, generate_rows(forest, 300, random_state=seed), leaves)


@pytest.mark.parametrize("leaves", [True, False])
def test_extreme_numbers(leaves: bool) -> None:
    """SQLite itself misreads one double in a hundred from its shortest digits; ours are written so that none is."""
    check(extreme_forest(), generate_rows(extreme_forest(), 500), leaves)


@pytest.mark.parametrize("leaves", [True, False])
def test_trees_deeper_than_the_parser_stack(leaves: bool) -> None:
    forest = forest_from_trees([chain(40, seed) for seed in range(5)], ["a", "b", "c"])
    check(forest, generate_rows(forest, 1000), leaves)


def test_more_outputs_than_a_call_has_arguments() -> None:
    forest = random_forest(2, n_trees=2, max_depth=2, n_outputs=150)
    check(forest, generate_rows(forest, 100), leaves=False)


@pytest.mark.parametrize(
    ("stored", "seconds"),
    [
        ("1970-01-01", 0),
        ("1970-01-01 00:00", 0),
        ("1970-01-01 00:00:01", 1),
        ("1970-01-01T00:00:01", 1),
        ("1970-01-01 00:00:01.999999", 1),
        ("1969-12-31 23:59:59.999999", -1),
        ("1970-01-01T02:00:00Z", 7200),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01 02:00:00.9999-05:30", 27000),
        ("1970-01-01T00:00:00.500000+00:00", 0),
        (-1, -1),
        (2**40, 2**40),
        (2440587.5, 0),
    ],
)
def test_date_times(stored: object, seconds: int) -> None:
    schema = TableSchema((Column("at", "datetime"),), (Feature("at", 0),))
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE data (at)")
    connection.execute("INSERT INTO data VALUES (?)", [stored])
    for threshold in (seconds - 1, seconds):
        step = {"feature": 0, "threshold": threshold, "left": {"value": 0.0}, "right": {"value": 2.0}}
        query = to_sql(forest_from_trees([step], schema), "sqlite", outputs="prediction")
        assert connection.execute(query).fetchall() == [(0.0 if seconds <= threshold else 2.0,)]


def test_categories_with_the_character_of_code_0() -> None:
    schema = TableSchema((Column("c", "categorical", ("a\0b",)),), (Feature("c", 0, "codes", (1.0, 2.0)),))
    step = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE data (c)")
    connection.executemany("INSERT INTO data VALUES (?)", [("a\0b",), ("a",), (None,)])
    query = to_sql(forest_from_trees([step], schema), "sqlite", outputs="prediction")
    assert connection.execute(query).fetchall() == [(0.0,), (2.0,), (2.0,)]
