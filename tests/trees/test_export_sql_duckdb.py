"""The exported SELECT in DuckDB, in process: equal to the reference on rows made to break it."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from sql_checks import assert_exact, forest_cases

from hardgrad.trees.export_sql import to_sql
from hardgrad.trees.forest import Forest
from hardgrad.trees.probe import generate_rows, to_arrow

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
