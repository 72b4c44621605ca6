"""The exported SELECT in DuckDB, in process: equal to the reference on rows made to break it."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
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


def run(forest: Forest, table: Any, **options: Any) -> list[list[Any]]:
    connection = duckdb.connect()
    connection.register("data", table)
    result = connection.sql(to_sql(forest, "duckdb", **options)).to_arrow_table()
    return [column.to_pylist() for column in result.columns]


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_equals_reference(case: str, leaves: bool) -> None:
    forest = CASES[case]
    rows = generate_rows(forest, 2000, random_state=1)
    table = to_arrow(rows, forest.schema)
    assert_exact(forest, rows, run(forest, table, leaves=leaves), "duckdb", leaves=leaves)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 6),
    st.integers(0, 4),
    st.integers(1, 4),
    st.sampled_from(["classification", "regression"]),
    st.sampled_from(["sum", "mean"]),
    st.booleans(),
)
def test_any_forest(
    seed: int, trees: int, depth: int, outputs: int, task: Any, aggregation: Any, leaves: bool
) -> None:
    forest = random_forest(
        seed, n_trees=trees, max_depth=depth, n_outputs=outputs, task=task, aggregation=aggregation
    )
    rows = generate_rows(forest, 300, random_state=seed)
    assert_exact(
        forest, rows, run(forest, to_arrow(rows, forest.schema), leaves=leaves), "duckdb", leaves=leaves
    )


def test_extreme_numbers() -> None:
    forest = extreme_forest()
    rows = generate_rows(forest, 500)
    for leaves in (False, True):
        assert_exact(
            forest, rows, run(forest, to_arrow(rows, forest.schema), leaves=leaves), "duckdb", leaves=leaves
        )


def test_trees_deeper_than_one_expression() -> None:
    forest = forest_from_trees([chain(40, seed) for seed in range(5)], ["a", "b", "c"])
    rows = generate_rows(forest, 1000)
    for leaves in (False, True):
        assert_exact(
            forest, rows, run(forest, to_arrow(rows, forest.schema), leaves=leaves), "duckdb", leaves=leaves
        )


def test_plan_is_a_pipeline() -> None:
    """Nothing is materialized: the rows stream through projections, so that memory does not grow with the table."""
    connection = duckdb.connect()
    connection.register(
        "data", to_arrow(generate_rows(CASES["three classes"], 10), CASES["three classes"].schema)
    )
    plan = str(connection.execute("EXPLAIN " + to_sql(CASES["three classes"])).fetchall()[0][1]).upper()
    assert "PROJECTION" in plan
    assert "CTE" not in plan
    assert "JOIN" not in plan


def test_collations_do_not_change_categories() -> None:
    schema = TableSchema((Column("c", "categorical", ("a",)),), (Feature("c", 0, "codes", (1.0, 2.0)),))
    step = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    connection = duckdb.connect()
    connection.execute("SET default_collation = 'nocase'")
    connection.execute("CREATE TABLE data (c VARCHAR COLLATE NOACCENT)")
    connection.execute("INSERT INTO data VALUES ('a'), ('A'), ('á'), ('a '), (NULL)")
    result = connection.execute(to_sql(forest_from_trees([step], schema), outputs="prediction")).fetchall()
    assert [value for (value,) in result] == [0.0, 2.0, 2.0, 2.0, 2.0]


def test_time_zone_of_the_session_does_not_matter() -> None:
    schema = TableSchema((Column("at", "datetime"),), (Feature("at", 0),))
    forest = forest_from_trees(
        [{"feature": 0, "threshold": -1.0, "left": {"value": 0.0}, "right": {"value": 2.0}}], schema
    )
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'America/New_York'")
    for kind in (pa.timestamp("us"), pa.timestamp("us", "Asia/Tokyo"), pa.date32()):
        days = np.array([-86_400_000_000, 0], dtype="datetime64[us]")
        connection.register("data", pa.table({"at": pa.array(days).cast(kind)}))
        assert connection.execute(to_sql(forest, outputs="prediction")).fetchall() == [(0.0,), (2.0,)]
