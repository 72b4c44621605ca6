"""Scoring inside DuckDB, from and to Parquet; Spark's side of it is in `test_export_sql_spark`."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from sql_checks import assert_exact

from hardgrad.core.errors import DataError, ExportError, SchemaError
from hardgrad.core.files import WriteError
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.probe import generate_rows, random_forest, to_arrow
from hardgrad.trees.score_sql import score_duckdb, score_duckdb_to_parquet

FOREST = random_forest(21, n_trees=4)
STEP = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}


def one_column(
    kind: Any, threshold: float, categories: tuple[str, ...] = (), codes: tuple[float, ...] = ()
) -> Forest:
    transform: Any = "codes" if kind == "categorical" else "identity"
    schema = TableSchema((Column("c", kind, categories),), (Feature("c", 0, transform, codes),))
    return forest_from_trees([STEP | {"threshold": threshold}], schema)


def sources(table: pa.Table, folder: Path) -> dict[str, Any]:
    path = folder / "rows.parquet"
    pq.write_table(table, path, row_group_size=300)
    return {
        "arrow": table,
        "path": path,
        "pattern": str(folder / "*.parquet"),
        "dataset": ds.dataset(path),
        "reader": table.to_reader(max_chunksize=100),
        "pandas": table.to_pandas(),
    }


@pytest.mark.parametrize("source", ["arrow", "path", "pattern", "dataset", "reader", "pandas"])
def test_every_source_gives_the_reference(tmp_path: Path, source: str) -> None:
    rows = generate_rows(FOREST, 1000, random_state=4)
    given = sources(to_arrow(rows, FOREST.schema), tmp_path)[source]
    result = score_duckdb(FOREST, given, outputs="all", leaves=True)
    assert_exact(FOREST, rows, [column.to_pylist() for column in result.columns], "duckdb")


def test_parquet_to_parquet_keeps_rows_in_order(tmp_path: Path) -> None:
    rows = generate_rows(FOREST, 50_000, random_state=5)
    table = to_arrow(rows, FOREST.schema).append_column("id", pa.array(np.arange(50_000)))
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=4096)
    written = score_duckdb_to_parquet(
        FOREST, tmp_path / "in.parquet", tmp_path / "out.parquet", keep=["id"], threads=2
    )
    result = pq.read_table(tmp_path / "out.parquet")
    assert written == result.num_rows == 50_000
    assert result.column_names == ["id", "prediction"]
    assert np.array_equal(result["id"].to_numpy(), np.arange(50_000))
    assert result["prediction"].to_pylist() == FOREST.predict(rows).tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]


def test_keep_all() -> None:
    forest = forest_from_trees([STEP], ["age"])
    result = score_duckdb(forest, pa.table({"name": ["x"], "age": [1.5]}), keep="all")
    assert result.to_pydict() == {"name": ["x"], "age": [1.5], "prediction": [0.0]}


def test_rename() -> None:
    forest = forest_from_trees([STEP], ["age"])
    result = score_duckdb(forest, pa.table({"Alter": [1.6]}), rename={"Alter": "age"})
    assert result["prediction"].to_pylist() == [2.0]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, None], pa.int8()),
        pa.array([1, 2, None], pa.uint64()),
        pa.array([2**62 + 1, -1, None], pa.int64()),
        pa.array([1.5, 1.5000001, None], pa.float32()),
        pa.array([Decimal("1.50"), Decimal("1.51"), None], pa.decimal128(9, 2)),
        pa.array([True, False, None]),
        pa.array([None, None], pa.null()),
    ],
    ids=str,
)
def test_types_of_numbers(values: pa.Array) -> None:
    table = pa.table({"c": values})
    forest = one_column("numeric", 1.5)
    assert score_duckdb(forest, table)["prediction"].to_pylist() == forest.predict(table).tolist()


HALVES = np.array([-1_500_000, -1_000_000, -500_001, -1, 0, 1, 999_999, 1_000_000, 1_700_000_000_000_001])


@pytest.mark.parametrize("threshold", [-2.0, -1.0, 0.0, 1.0, 0.5, 1.7e9 - 1, 1.7e9])
@pytest.mark.parametrize(
    ("unit", "zone"),
    [
        ("s", None),
        ("ms", None),
        ("us", None),
        ("ns", None),
        ("us", "UTC"),
        ("us", "Asia/Kolkata"),
        ("ns", "Asia/Kolkata"),
    ],
)
def test_types_of_instants(unit: str, zone: str | None, threshold: float) -> None:
    ticks = HALVES.astype("datetime64[us]").astype(f"datetime64[{unit}]").astype(np.int64)
    table = pa.table({"c": pa.array([*ticks.tolist(), None], pa.timestamp(unit, zone))})
    forest = one_column("datetime", threshold)
    seconds = np.floor_divide(HALVES, 1_000_000).astype(float)
    if unit in ("s", "ms"):
        seconds = np.floor(ticks / {"s": 1, "ms": 1000}[unit])
    expected = [0.0 if s <= threshold else 2.0 for s in seconds] + [2.0]
    assert score_duckdb(forest, table)["prediction"].to_pylist() == expected
    assert forest.predict(table).tolist() == expected


def test_dates() -> None:
    days = [
        dt.date(1969, 12, 31),
        dt.date(1970, 1, 1),
        dt.date(1970, 1, 2),
        dt.date(1, 1, 1),
        dt.date(9999, 12, 31),
        None,
    ]
    for threshold in (-86400.0, -1.0, 0.0, 86399.0, 86400.0):
        forest = one_column("datetime", threshold)
        table = pa.table({"c": pa.array(days, pa.date32())})
        assert score_duckdb(forest, table)["prediction"].to_pylist() == forest.predict(table).tolist()


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, 3, None]),
        pa.array([1.0, 2.0, 2.5, 1e300, float("nan"), None]),
        pa.array([1.0, 2.0, 2.5, None], pa.float32()),
        pa.array([True, False, None]),
        pa.array(["1", "2", "1.0", "01", None]),
        pa.array(["1", "2", "1.0", None]).dictionary_encode(),
        pa.array(["1", "2", None], pa.large_string()),
    ],
    ids=lambda values: str(values.type),
)
def test_types_of_categories(values: pa.Array) -> None:
    forest = one_column("categorical", 1.5, ("1", "2.5", "false"), (1.0, 2.0, 1.25, 1.75))
    table = pa.table({"c": values})
    assert score_duckdb(forest, table)["prediction"].to_pylist() == forest.predict(table).tolist()


def test_many_categories_keep_the_order_of_rows() -> None:
    names = tuple(sorted(f"city {k} é'" for k in range(3000)))
    rng = np.random.default_rng(0)
    schema = TableSchema(
        (Column("city", "categorical", names),), (Feature("c", 0, "codes", tuple(rng.normal(size=3001))),)
    )
    trees = [STEP | {"threshold": t} for t in (-1.0, 0.0, 0.7)]
    forest = forest_from_trees(trees, schema)
    table = pa.table({"city": rng.choice([*names, "elsewhere"], 20_000)})
    assert score_duckdb(forest, table)["prediction"].to_pylist() == forest.predict(table).tolist()


def test_errors_name_the_column(tmp_path: Path) -> None:
    forest = forest_from_trees([STEP], ["age"])
    with pytest.raises(SchemaError, match=r"'age'.*Did you mean 'Age'"):
        score_duckdb(forest, pa.table({"Age": [1.0]}))
    with pytest.raises(SchemaError, match="'age' is numeric in the model, but the table has it as VARCHAR"):
        score_duckdb(forest, pa.table({"age": ["1"]}))
    with pytest.raises(SchemaError, match="'c' is datetime"):
        score_duckdb(one_column("datetime", 0.0), pa.table({"c": [1.0]}))
    with pytest.raises(SchemaError, match="'c' is categorical"):
        score_duckdb(one_column("categorical", 0.0, (), (1.0,)), pa.table({"c": [dt.date(2020, 1, 1)]}))
    with pytest.raises(SchemaError, match="'id' is not in the table"):
        score_duckdb(forest, pa.table({"age": [1.0]}), keep=["id"])
    with pytest.raises(ExportError, match="'Prediction' has the name of an output"):
        score_duckdb(forest, pa.table({"age": [1.0], "Prediction": [1.0]}), keep="all")
    with pytest.raises(DataError, match=r"none\.parquet: there is no such file"):
        score_duckdb(forest, tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="DuckDB cannot read"):
        score_duckdb(forest, tmp_path / "text.parquet")
    with pytest.raises(DataError, match="got a set"):
        score_duckdb(forest, {1.0})
    with pytest.raises(WriteError, match="cannot write"):
        score_duckdb_to_parquet(forest, pa.table({"age": [1.0]}), tmp_path / "no folder" / "out.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["text.parquet"]
