"""The exported SELECT in the SQLite of the standard library: equal to the reference on rows made to break it."""

from __future__ import annotations

import sqlite3
from typing import Any

import numpy as np
import pytest
from sql_checks import assert_exact, forest_cases

from hardgrad.trees.export_sql import to_sql
from hardgrad.trees.forest import Forest
from hardgrad.trees.probe import generate_rows, to_arrow

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
